//! Who may do what: bearer tokens with roles.
//!
//! Only the SHA-256 sums of tokens are kept, and they are compared in constant time. A token is taken from the
//! `Authorization` header or, for browsers' WebSockets, which cannot send one, from an offered subprotocol; never from
//! an address, because addresses end up in logs and histories. Whatever a token came in is taken out of the request
//! before anything else sees it.

use std::{fmt, net::IpAddr};

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{limit::Writes, rest::Refused};

/// What a browser's WebSocket offers beside its real subprotocol; never echoed.
const TOKEN_PROTOCOL: &str = "peregrine.bearer.";

/// What somebody may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read and watch.
    Viewer,
    /// Also send frames and steps, and try calibrations.
    Operator,
    /// Also add, change and remove cameras.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// A token that is accepted: everything but the token itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose it is, for logs.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    sha256: [u8; 32],
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Token {
    /// From the sum of a token.
    pub fn new(name: impl Into<String>, role: Role, sha256: [u8; 32]) -> Self {
        Self { name: name.into(), role, sha256 }
    }
}

/// The SHA-256 sum of a token.
pub fn sum_of(token: &str) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    sum
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Caller {
    /// The token's name; none where there are no tokens.
    pub(crate) name: Option<String>,
    pub(crate) role: Role,
}

impl Caller {
    /// The name, for logs.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("anybody")
    }
}

/// The rules, from configuration.
#[derive(Debug)]
pub(crate) struct Access {
    tokens: Vec<Token>,
    writes: Writes,
}

impl Access {
    /// Without tokens everybody who reaches the gateway may do everything.
    pub(crate) fn new(tokens: Vec<Token>, writes: Writes) -> Self {
        Self { tokens, writes }
    }

    /// Whose token this is.
    fn bearer(&self, presented: &str) -> Option<Caller> {
        let sum = sum_of(presented);
        // All are compared, so that the time says nothing of which one is near.
        let fits = |token: &&Token| bool::from(token.sha256.ct_eq(&sum));
        let found = self.tokens.iter().filter(fits).fold(None, |found, token| found.or(Some(token)));
        found.map(|token| Caller { name: Some(token.name.clone()), role: token.role })
    }

    /// Who calls from there with this token; nobody where one is needed and none came.
    pub(crate) fn caller(&self, from: IpAddr, presented: Option<&str>) -> Result<Option<Caller>, Refused> {
        if self.tokens.is_empty() {
            return Ok(Some(Caller { name: None, role: Role::Admin }));
        }
        let Some(presented) = presented else { return Ok(None) };
        if let Some(caller) = self.bearer(presented) {
            return Ok(Some(caller));
        }
        // Guessing is slowed down as writing is.
        self.writes.take(from, None)?;
        Err(unauthorized("this token is not accepted here: ask for a valid one"))
    }

    /// Who sent this, nobody in particular where everybody may; handlers find it in the request's extensions.
    pub(crate) fn admit(
        &self,
        from: IpAddr,
        presented: Option<&str>,
        asked: &Asked<'_>,
    ) -> Result<Option<Caller>, Refused> {
        let caller = match self.caller(from, presented) {
            Err(_) if asked.needs().is_none() => None,
            caller => caller?,
        };
        match (&caller, asked.needs()) {
            (None, Some(_)) => {
                return Err(unauthorized("this needs a token: send it as `Authorization: Bearer …`"));
            }
            (Some(caller), Some(needed)) if caller.role < needed => {
                let text = format!(
                    "this needs the role {needed}, and your token has {}: ask for another",
                    caller.role
                );
                return Err(Refused::new(StatusCode::FORBIDDEN, text));
            }
            _ => {}
        }
        if asked.is_write() {
            self.writes.take(from, caller.as_ref().and_then(|caller| caller.name.as_deref()))?;
        }
        Ok(caller)
    }
}

fn unauthorized(text: &str) -> Refused {
    let challenge = HeaderValue::from_static("Bearer realm=\"peregrine\"");
    Refused::new(StatusCode::UNAUTHORIZED, text).with(header::WWW_AUTHENTICATE, challenge)
}

/// A request as the rules see it.
pub(crate) struct Asked<'a> {
    /// None for the dashboard's files and for what does not exist.
    pub(crate) route: Option<&'a str>,
    pub(crate) method: &'a Method,
}

impl Asked<'_> {
    fn reads(&self) -> bool {
        matches!(*self.method, Method::GET | Method::HEAD)
    }

    /// The role that this takes; none where everybody may. What is not named here takes a viewer to read and an admin
    /// to write.
    fn needs(&self) -> Option<Role> {
        match self.route? {
            "/api/version" | "/api/openapi.json" if self.reads() => None,
            "/ws" => Some(Role::Viewer),
            "/api/calibration" | "/ingest/{stream}" | "/ws/ingest/{camera}" => Some(Role::Operator),
            _ if self.reads() => Some(Role::Viewer),
            _ => Some(Role::Admin),
        }
    }

    /// What a browser lets any page do: writing, and opening WebSockets. What others read, it does not show them.
    pub(crate) fn is_open_to_pages(&self) -> bool {
        !self.reads() || self.route.is_some_and(|route| route.starts_with("/ws"))
    }

    /// Whether this counts against the limit of writes. Streams have limits of their own.
    fn is_write(&self) -> bool {
        !self.reads() && self.route.is_some_and(|route| route.starts_with("/api/"))
    }
}

/// Takes the token out of a request.
pub(crate) fn take_token(headers: &mut HeaderMap) -> Option<String> {
    let authorization = headers.remove(header::AUTHORIZATION);
    let in_header = authorization.as_ref().and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    });
    in_header.or(take_token_protocol(headers))
}

fn take_token_protocol(headers: &mut HeaderMap) -> Option<String> {
    let offered: Vec<HeaderValue> = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().cloned().collect();
    let offered: Vec<&str> = offered
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .collect();
    let token =
        offered.iter().find_map(|protocol| protocol.strip_prefix(TOKEN_PROTOCOL)).map(str::to_owned)?;
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    let others: Vec<&str> =
        offered.into_iter().filter(|protocol| !protocol.starts_with(TOKEN_PROTOCOL)).collect();
    if !others.is_empty()
        && let Ok(value) = others.join(", ").parse()
    {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn access() -> Access {
        let token = |name: &str, role| Token::new(name, role, sum_of(&format!("{name}-secret")));
        let tokens =
            vec![token("eye", Role::Viewer), token("hand", Role::Operator), token("head", Role::Admin)];
        Access::new(tokens, Writes::new(1000.0))
    }

    fn status(access: &Access, token: Option<&str>, method: &Method, route: Option<&str>) -> u16 {
        match access.admit(HERE, token, &Asked { route, method }) {
            Ok(_) => 200,
            Err(refused) => refused.status.as_u16(),
        }
    }

    #[test]
    fn role_may_do_more_or_less_than_it_says() {
        let access = access();
        for (method, route, [nobody, viewer, operator, admin]) in [
            (Method::GET, None, [200, 200, 200, 200]),
            (Method::GET, Some("/api/version"), [200, 200, 200, 200]),
            (Method::GET, Some("/api/openapi.json"), [200, 200, 200, 200]),
            (Method::GET, Some("/api/cameras"), [401, 200, 200, 200]),
            (Method::HEAD, Some("/api/ledger"), [401, 200, 200, 200]),
            (Method::GET, Some("/ws"), [401, 200, 200, 200]),
            (Method::POST, Some("/api/calibration"), [401, 403, 200, 200]),
            (Method::POST, Some("/ingest/{stream}"), [401, 403, 200, 200]),
            (Method::GET, Some("/ws/ingest/{camera}"), [401, 403, 200, 200]),
            (Method::POST, Some("/api/cameras"), [401, 403, 403, 200]),
            (Method::PUT, Some("/api/cameras/{id}"), [401, 403, 403, 200]),
            (Method::DELETE, Some("/api/cameras/{id}"), [401, 403, 403, 200]),
            (Method::POST, Some("/api/version"), [401, 403, 403, 200]),
        ] {
            for (token, expected) in [
                (None, nobody),
                (Some("eye-secret"), viewer),
                (Some("hand-secret"), operator),
                (Some("head-secret"), admin),
            ] {
                let found = status(&access, token, &method, route);
                assert_eq!(found, expected, "{method} {route:?} with {token:?}");
            }
        }
    }

    #[test]
    fn wrong_token_passes_or_may_be_guessed_quickly() {
        let access = Access::new(access().tokens, Writes::new(1.0));
        let wrong = |token: &str| status(&access, Some(token), &Method::GET, Some("/api/cameras"));
        assert_eq!(wrong("eye-secre"), 401);
        let mut last = 401;
        for _ in 0..10 {
            last = wrong("");
        }
        assert_eq!(last, 429);
        assert_eq!(
            status(&access, Some("eye-secret"), &Method::GET, Some("/api/cameras")),
            200,
            "the right one passes"
        );
        assert_eq!(
            status(&access, Some("nonsense"), &Method::GET, None),
            200,
            "the page that asks for a token"
        );
    }

    #[test]
    fn token_goes_on_to_the_handlers() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("bearer abc"));
        assert_eq!(take_token(&mut headers).as_deref(), Some("abc"));
        assert!(headers.is_empty());
        headers.append(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("peregrine.json, peregrine.bearer.xyz"),
        );
        headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("other"));
        assert_eq!(take_token(&mut headers).as_deref(), Some("xyz"));
        assert_eq!(headers[header::SEC_WEBSOCKET_PROTOCOL], "peregrine.json, other");
        assert_eq!(take_token(&mut headers), None);
    }

    #[test]
    fn sum_of_a_token_shows() {
        let shown = format!("{:?}", access());
        assert!(shown.contains("eye") && !shown.contains("sha256"), "{shown}");
    }
}
