//! `#[derive(marea::Json)]` and `#[derive(marea::Bincode)]`: define how a serde type is encoded on topics
//! and in stores.
//!
//! Both implement `marea::codec::OwnCodec` for the type, so that streams of it need no codec as an
//! argument. They are in a crate of their own because Rust requires that for macros; use them through
//! `marea`.

use proc_macro::TokenStream;
use quote::quote;
use syn::{DeriveInput, parse_macro_input, parse_quote};

/// Values of the type are JSON text. The type must also implement serde's `Serialize` and `Deserialize`.
///
/// ```text
/// #[derive(serde::Serialize, serde::Deserialize, marea::Json)]
/// struct Order { region: String, amount: f64 }
/// ```
#[proc_macro_derive(Json)]
pub fn derive_json(input: TokenStream) -> TokenStream {
    own_codec(input, "JsonCodec")
}

/// Values of the type are in bincode 2's format. The type must also implement serde's `Serialize` and
/// `Deserialize`.
///
/// ```text
/// #[derive(serde::Serialize, serde::Deserialize, marea::Bincode)]
/// struct Mean { sum: f64, count: u64 }
/// ```
#[proc_macro_derive(Bincode)]
pub fn derive_bincode(input: TokenStream) -> TokenStream {
    own_codec(input, "BincodeCodec")
}

/// The implementation of `OwnCodec` by the codec of that name in `marea::codec`.
fn own_codec(input: TokenStream, codec: &str) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let name = &input.ident;
    let codec = syn::Ident::new(codec, name.span());
    let mut generics = input.generics.clone();
    let (_, type_generics, _) = input.generics.split_for_impl();
    // A generic type has the codec if it implements serde's traits.
    let bounded: Option<syn::WhereClause> = match input.generics.params.is_empty() {
        true => None,
        false => Some(parse_quote! {
            where #name #type_generics: ::marea::codec::Serializable + 'static
        }),
    };
    if let Some(bounded) = bounded {
        let clause = generics.make_where_clause();
        clause.predicates.extend(bounded.predicates);
    }
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    quote! {
        impl #impl_generics ::marea::codec::OwnCodec for #name #type_generics #where_clause {
            fn codec() -> ::marea::codec::SharedCodec<Self> {
                ::marea::codec::shared(::marea::codec::#codec::<Self>::new())
            }
        }
    }
    .into()
}
