//! Access to rows of one value per key, in the task's own store or a global one.

use std::cell::RefCell;
use std::ops::RangeBounds;
use std::rc::Rc;

use super::site::StoreSite;
use crate::base::{Error, Result};
use crate::codec::SharedCodec;
use crate::state::typed::{Form, KeyBounds, KeyValueView, KeyValues, encode_key};
use crate::state::{Direction, GlobalRows, Scan};

/// Access to a store of one value per key.
pub(super) enum Access<K, V, F> {
    Own(Rc<RefCell<KeyValueView<K, V, F>>>),
    Global(Rc<Global<K, V>>),
}

impl<K, V, F> Clone for Access<K, V, F> {
    fn clone(&self) -> Self {
        match self {
            Self::Own(view) => Self::Own(Rc::clone(view)),
            Self::Global(rows) => Self::Global(Rc::clone(rows)),
        }
    }
}

/// The rows of a store that another task fills.
pub(super) struct Global<K, V> {
    name: String,
    rows: GlobalRows,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    /// The encoded key of a lookup.
    encoded: RefCell<Vec<u8>>,
}

impl<K: 'static, V: 'static> Global<K, V> {
    fn get<F: Form<V>>(&self, key: &K) -> Result<Option<F::Read>> {
        // Taken, since a codec is the user's code.
        let mut bytes = self.encoded.take();
        bytes.clear();
        encode_key(&*self.key, key, &mut bytes)?;
        let decode = |row: Option<&[u8]>| {
            let decoded = row.map(|row| F::decode(&*self.value, row));
            decoded.transpose()
        };
        let found = self.rows.get(&bytes, decode);
        self.encoded.replace(bytes);
        found?
    }
}

impl<K: 'static, V: 'static, F: Form<V>> Access<K, V, F> {
    pub(super) fn open(site: StoreSite<'_, '_, K, V>) -> Result<Self> {
        let StoreSite {
            wiring,
            name,
            key,
            value,
            ..
        } = site;
        Ok(match wiring.global_rows(name) {
            Some(rows) => Self::Global(Rc::new(Global {
                name: name.to_owned(),
                rows,
                key,
                value,
                encoded: RefCell::default(),
            })),
            None => {
                let view = KeyValueView::new(wiring.key_value(name)?, key, value);
                Self::Own(Rc::new(RefCell::new(view)))
            }
        })
    }

    pub(super) fn get(&self, key: &K) -> Result<Option<F::Read>> {
        match self {
            Self::Own(view) => view.borrow_mut().get(key),
            Self::Global(global) => global.get::<F>(key),
        }
    }

    pub(super) fn put(&self, key: &K, value: Option<F::Write<'_>>) -> Result<()> {
        match self {
            Self::Own(view) => view.borrow_mut().put(key, value),
            Self::Global(global) => Err(Error::user(format!(
                "store {:?} is global; only the processor that fills it can write to it",
                global.name
            ))),
        }
    }

    pub(super) fn range(
        &self,
        keys: impl RangeBounds<K>,
        direction: Direction,
    ) -> Result<StoreRows<K, V, F>> {
        let (from, to) = (keys.start_bound(), keys.end_bound());
        let codec = match self {
            Self::Own(view) => view.borrow().key_codec().clone(),
            Self::Global(global) => global.key.clone(),
        };
        self.range_of(&KeyBounds::encode(&*codec, from, to)?, direction)
    }

    pub(super) fn range_of(
        &self,
        bounds: &KeyBounds,
        direction: Direction,
    ) -> Result<StoreRows<K, V, F>> {
        let global = match self {
            Self::Own(view) => {
                let rows = view.borrow().range_of(bounds, direction)?;
                return Ok(StoreRows(Walk::Own(rows)));
            }
            Self::Global(global) => global,
        };
        let (from, to) = bounds.as_slices();
        Ok(StoreRows(Walk::Global {
            rows: global.rows.scan(from, to, direction)?,
            global: Rc::clone(global),
        }))
    }
}

enum Walk<K, V, F> {
    Own(KeyValues<K, V, F>),
    Global {
        rows: Box<dyn Scan>,
        global: Rc<Global<K, V>>,
    },
}

/// The rows of a range as of its start, decoded one by one.
#[must_use = "rows are read as they are asked for"]
pub struct StoreRows<K, V, F>(Walk<K, V, F>);

impl<K: 'static, V: 'static, F: Form<V>> Iterator for StoreRows<K, V, F> {
    type Item = Result<(K, F::Read)>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Walk::Own(rows) => rows.next(),
            Walk::Global { rows, global } => {
                let row = rows.next().transpose()?;
                Some(row.and_then(|(key, row)| {
                    let key = global.key.decode(Some(key))?;
                    Ok((key, F::decode(&*global.value, row)?))
                }))
            }
        }
    }
}
