//! OAUTHBEARER tokens, from a function of the user.
//!
//! A client asks for a new token after four fifths of the old one's lifetime, while it is polled. It gets
//! the first one when it is made, since most clients make requests before they are polled; and the client
//! for administrative requests, which is never polled, gets its next ones with its requests.

use std::error::Error as StdError;
use std::ffi::CString;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext, OAuthToken as ClientToken};

use super::locks::lock;
use super::settings::Secret;
use crate::base::{Env, Error, ErrorKind, Result};

/// What the brokers need for a login by OAUTHBEARER.
#[derive(Clone, Debug)]
pub struct OauthToken {
    token: Secret,
    principal: String,
    expires_ms: i64,
}

impl OauthToken {
    /// A token, the name of its owner, and when it expires, in milliseconds since 1970.
    pub fn new(token: impl Into<Secret>, principal: impl Into<String>, expires_ms: i64) -> Self {
        Self {
            token: token.into(),
            principal: principal.into(),
            expires_ms,
        }
    }
}

pub(super) type Source = Arc<dyn Fn() -> Result<OauthToken> + Send + Sync>;

/// Where clients get their tokens; none if they log in by other means.
#[derive(Clone, Default)]
pub(super) struct Tokens(Option<Arc<Shared>>);

struct Shared {
    source: Source,
    env: Arc<dyn Env>,
    /// The last token, and when the next one will be requested: clients that start simultaneously share
    /// it.
    last: Mutex<Option<(OauthToken, i64)>>,
}

impl Tokens {
    pub(super) fn from(source: Source, env: Arc<dyn Env>) -> Self {
        Self(Some(Arc::new(Shared {
            source,
            env,
            last: Mutex::default(),
        })))
    }

    pub(super) fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// For [`ClientContext::generate_oauth_token`].
    pub(super) fn for_client(&self) -> Result<ClientToken, Box<dyn StdError>> {
        let Some(shared) = &self.0 else {
            return Err("KafkaLog::builder() was given no source of tokens".into());
        };
        let (token, _) = shared.token()?;
        Ok(ClientToken {
            token: token.token.reveal().to_owned(),
            principal_name: token.principal,
            lifetime_ms: token.expires_ms,
        })
    }

    /// Gives a new client its first token.
    ///
    /// # Errors
    /// The source's own error; `Invalid` if the client does not accept the token.
    pub(super) fn give<C: ClientContext>(&self, client: &Client<C>) -> Result<()> {
        match &self.0 {
            Some(shared) => shared.give(client).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Gives a client that is never polled the next token, if it is time; `next_ms` stores when.
    pub(super) fn renew<C: ClientContext>(&self, client: &Client<C>, next_ms: &AtomicI64) {
        let Some(shared) = &self.0 else { return };
        if shared.env.wall_ms() < next_ms.load(Ordering::Relaxed) {
            return;
        }
        match shared.give(client) {
            Ok(then_ms) => next_ms.store(then_ms, Ordering::Relaxed),
            // If the old one has expired, the request fails by itself; the next one tries again.
            Err(error) => {
                tracing::warn!(%error, "renewing the Kafka token failed; the next request tries \
                                                  again")
            }
        }
    }
}

impl Shared {
    /// A token, and when the next one is needed.
    fn token(&self) -> Result<(OauthToken, i64)> {
        let mut last = lock(&self.last);
        let now_ms = self.env.wall_ms();
        if let Some((token, next_ms)) = &*last
            && now_ms < *next_ms
        {
            return Ok((token.clone(), *next_ms));
        }
        let token = (self.source)().map_err(|error| error.context("requesting a Kafka token"))?;
        let life_ms = token.expires_ms.saturating_sub(now_ms);
        // Before clients ask by themselves, so that they then get a new one.
        let next_ms = now_ms.saturating_add(life_ms / 4 * 3);
        *last = Some((token.clone(), next_ms));
        Ok((token, next_ms))
    }

    fn give<C: ClientContext>(&self, client: &Client<C>) -> Result<i64> {
        let (token, next_ms) = self.token()?;
        set(client, &token)?;
        Ok(next_ms)
    }
}

/// The binding sets tokens only for clients that are polled, so this one goes to the underlying library.
#[expect(
    unsafe_code,
    reason = "the binding has no such call; the proof is beside it"
)]
fn set<C: ClientContext>(client: &Client<C>, token: &OauthToken) -> Result<()> {
    let wrong = |why: &str| Error::invalid(format!("a Kafka token is unusable: {why}"));
    let nul = |_| wrong("it contains a zero byte");
    let value = CString::new(token.token.reveal()).map_err(nul)?;
    let principal = CString::new(&*token.principal).map_err(nul)?;
    let mut said = [0_u8; 512];
    // SAFETY: the client is borrowed and outlives the call, which copies both strings; they are terminated
    // and live until it returns. There are no extensions, so their pointer is not read. The library writes at
    // most `said.len()` bytes into `said`, the terminator included.
    let code = unsafe {
        native::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.expires_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            said.as_mut_ptr().cast(),
            said.len(),
        )
    };
    if code == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    let said = said.split(|byte| *byte == 0).next().unwrap_or_default();
    let said = String::from_utf8_lossy(said).replace(token.token.reveal(), "...");
    Err(Error::new(ErrorKind::Invalid, wrong(&said).message()))
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Tokens(...)"
        } else {
            "Tokens(none)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ManualEnv;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn clients_share_a_token_until_it_is_old() {
        let env = ManualEnv::new(1_000_000, 1);
        let (times, clock) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&env));
        let counted = Arc::clone(&times);
        let source = move || {
            let time = counted.fetch_add(1, Ordering::Relaxed);
            Ok(OauthToken::new(
                format!("token-{time}"),
                "alice",
                clock.wall_ms() + 1_000,
            ))
        };
        let tokens = Tokens::from(Arc::new(source), env.clone());
        let mut seen = Vec::new();
        for pass_ms in [0, 700, 100, 700, 100] {
            env.advance_ms(pass_ms);
            seen.push(tokens.for_client().expect("a token").token);
        }
        assert_eq!(
            seen,
            ["token-0", "token-0", "token-1", "token-1", "token-2"]
        );
        assert!(!format!("{tokens:?} {:?}", OauthToken::new("secret", "a", 1)).contains("secret"));
        let none = Tokens::default().for_client().err().expect("none");
        assert!(none.to_string().contains("KafkaLog::builder()"), "{none}");
    }
}
