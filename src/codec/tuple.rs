//! Several values in one key or value, one after another.

use super::{Codec, Encoded, OwnCodec, SharedCodec, shared};
use crate::base::{Error, Result};

/// The length that stands for null.
const NULL: u32 = u32::MAX;

/// A codec of tuples over a tuple of codecs.
///
/// ```text
/// for each part:  length u32 BE (all ones for null) | bytes
/// ```
///
/// The format is marea's own: Kafka has no tuple serialiser. A tuple is never null, but its parts may be.
///
/// ```
/// use marea::codec::{Codec, I64, Tuple, Utf8};
/// let codec = Tuple((Utf8, I64));
/// let mut out = Vec::new();
/// codec.encode(&("eu".to_owned(), 7), &mut out)?;
/// assert_eq!(codec.decode(Some(&out))?, ("eu".to_owned(), 7));
/// # Ok::<(), marea::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Tuple<C>(
    /// The codecs of the parts.
    pub C,
);

fn put<T>(codec: &impl Codec<T>, value: &T, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let len = match codec.encode(value, out)? {
        Encoded::Null => NULL,
        Encoded::Bytes => u32::try_from(out.len() - start - 4)
            .ok()
            .filter(|len| *len != NULL)
            .ok_or_else(|| Error::user("a part of a tuple is longer than 4 GiB"))?,
    };
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    Ok(())
}

fn take<T>(codec: &impl Codec<T>, bytes: &mut &[u8]) -> Result<T> {
    let short = || Error::user("the bytes end in the middle of a tuple");
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
    match u32::from_be_bytes(*len) {
        NULL => {
            *bytes = rest;
            codec.decode(None)
        }
        len => {
            let (part, rest) = rest.split_at_checked(len as usize).ok_or_else(short)?;
            *bytes = rest;
            codec.decode(Some(part))
        }
    }
}

macro_rules! tuple {
    ($($type:ident $codec:ident $at:tt),+) => {
        impl<$($type, $codec: Codec<$type>),+> Codec<($($type,)+)> for Tuple<($($codec,)+)> {
            fn encode(&self, value: &($($type,)+), out: &mut Vec<u8>) -> Result<Encoded> {
                $(put(&self.0.$at, &value.$at, out)?;)+
                Ok(Encoded::Bytes)
            }

            fn decode(&self, bytes: Option<&[u8]>) -> Result<($($type,)+)> {
                let mut bytes = super::primitive::present(bytes, "a tuple")?;
                let value = ($(take(&self.0.$at, &mut bytes)?,)+);
                match bytes.len() {
                    0 => Ok(value),
                    more => Err(Error::user(format!("{more} bytes follow the end of a tuple"))),
                }
            }

            fn name(&self) -> String {
                let names = [$(self.0.$at.name()),+];
                format!("({})", names.join(", "))
            }
        }

        impl<$($type: OwnCodec),+> OwnCodec for ($($type,)+) {
            fn codec() -> SharedCodec<Self> {
                shared(Tuple(($($type::codec(),)+)))
            }
        }
    };
}

tuple!(A CA 0, B CB 1);
tuple!(A CA 0, B CB 1, C CC 2);
tuple!(A CA 0, B CB 1, C CC 2, D CD 3);
