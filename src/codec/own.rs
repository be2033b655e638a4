//! The codec that belongs to a type, so that streams of it need no codec as an argument.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    Bool, Bytes, F32, F64, I16, I32, I64, Nullable, SharedCodec, U32, U64, Unit, Utf8, shared,
};

/// A type that knows how it is encoded on topics and in stores.
///
/// `String`, numbers, `bool`, `Vec<u8>` (raw bytes), `Option` (`None` is null), tuples and
/// [`Windowed`](super::Windowed) have a codec. Your own types that implement serde get one by a derive:
///
/// ```
/// use marea::codec::OwnCodec;
/// #[derive(serde::Serialize, serde::Deserialize, marea::Json)]
/// struct Order { region: String, amount: f64 }
///
/// let mut out = Vec::new();
/// Order::codec().encode(&Order { region: "eu".into(), amount: 2.5 }, &mut out)?;
/// assert_eq!(out, br#"{"region":"eu","amount":2.5}"#);
/// # Ok::<(), marea::Error>(())
/// ```
///
/// For a type of another crate use [`Json`](super::Json) or `Bincode`; a type with its own format
/// implements this trait. Every method of the DSL that uses it has a variant that takes codecs instead.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no codec of its own",
    label = "no codec is known for this type",
    note = "derive one beside serde's traits: `#[derive(serde::Serialize, serde::Deserialize, marea::Json)]`",
    note = "for a type of another crate use `marea::Json<{Self}>`, or give codecs: `Consumed::with`, `Produced::with`, `Grouped::with`, ..."
)]
pub trait OwnCodec: Sized + 'static {
    /// The codec.
    fn codec() -> SharedCodec<Self>;
}

/// What serde can write and read: the only requirement of [`JsonCodec`](super::JsonCodec) and
/// `BincodeCodec`.
#[diagnostic::on_unimplemented(
    message = "serde cannot serialize and deserialize `{Self}`",
    note = "derive both: `#[derive(serde::Serialize, serde::Deserialize)]`"
)]
pub trait Serializable: Serialize + DeserializeOwned {}

impl<T: Serialize + DeserializeOwned> Serializable for T {}

macro_rules! own {
    ($($type:ty => $codec:expr;)*) => {$(
        impl OwnCodec for $type {
            fn codec() -> SharedCodec<Self> {
                shared($codec)
            }
        }
    )*};
}

own! {
    String => Utf8;
    Vec<u8> => Bytes;
    bool => Bool;
    i16 => I16;
    i32 => I32;
    i64 => I64;
    u32 => U32;
    u64 => U64;
    f32 => F32;
    f64 => F64;
    () => Unit;
}

impl<T: OwnCodec> OwnCodec for Option<T> {
    fn codec() -> SharedCodec<Self> {
        shared(Nullable(T::codec()))
    }
}
