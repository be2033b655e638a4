//! The refused shape: records erased at each hop.

use std::any::Any;
use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;

use super::{Cx, Key, Record, Result, Round, Value, bump, mapped, pass, records};

/// The refused shape: a record on the heap, its type asked for at each hop.
trait PushAny {
    fn push(&self, record: Box<dyn Any>, cx: &mut Cx) -> Result<()>;
}

struct AnyNode<F> {
    apply: RefCell<F>,
    child: Rc<dyn PushAny>,
}

impl<F: Fn(Box<dyn Any>) -> Option<Box<dyn Any>>> PushAny for AnyNode<F> {
    fn push(&self, record: Box<dyn Any>, cx: &mut Cx) -> Result<()> {
        cx.forwarded += 1;
        match (self.apply.borrow_mut())(record) {
            Some(record) => self.child.push(record, cx),
            None => Ok(()),
        }
    }
}

struct AnySink<V>(RefCell<Vec<Record<Key, V>>>);

impl<V: 'static> PushAny for AnySink<V> {
    fn push(&self, record: Box<dyn Any>, _: &mut Cx) -> Result<()> {
        match record.downcast::<Record<Key, V>>() {
            Ok(record) => self.0.borrow_mut().push(*record),
            Err(_) => return Err(marea::Error::internal("a wrong edge")),
        }
        Ok(())
    }
}

struct AnyEdge(Rc<dyn PushAny>);

fn any_filter<V: 'static>(
    keep: impl Fn(&Key, &V) -> bool + 'static,
    AnyEdge(child): AnyEdge,
) -> AnyEdge {
    let apply = move |record: Box<dyn Any>| {
        let inner = record.downcast_ref::<Record<Key, V>>()?;
        keep(&inner.key, &inner.value).then_some(record)
    };
    let apply = RefCell::new(apply);
    AnyEdge(Rc::new(AnyNode { apply, child }))
}

fn any_map<V: 'static>(convert: impl Fn(V) -> V + 'static, AnyEdge(child): AnyEdge) -> AnyEdge {
    // A map may change the type, so it needs a box of its own.
    let apply = move |record: Box<dyn Any>| -> Option<Box<dyn Any>> {
        let record = *record.downcast::<Record<Key, V>>().ok()?;
        Some(Box::new(mapped(record, &convert)))
    };
    let apply = RefCell::new(apply);
    AnyEdge(Rc::new(AnyNode { apply, child }))
}

pub(super) fn any_round<V: Value>(count: usize, hops: bool) -> Round {
    let sink = Rc::new(AnySink::<V>(RefCell::default()));
    let edge = AnyEdge(sink.clone());
    let AnyEdge(head) = if hops {
        eight!(
            any_filter::<V>,
            any_map::<V>,
            bump,
            std::convert::identity,
            edge
        )
    } else {
        edge
    };
    let mut batch = records::<Key, V>(count, |i| i as u64);
    Box::new(move || {
        let mut cx = Cx::default();
        for record in batch.drain(..) {
            assert!(head.push(Box::new(record), &mut cx).is_ok());
        }
        black_box(cx.forwarded);
        std::mem::swap(&mut batch, &mut sink.0.borrow_mut());
    })
}
