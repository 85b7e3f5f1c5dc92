//! Addresses of Redis: one server, the nodes of a cluster, or the sentinels that know which server is the master.

use peregrine_proto::mask;
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates};
use rustls::crypto::ring;

use crate::{StreamError, sentinel::Sentinels};

const SENTINEL_PORT: u16 = 26379;

/// What an address leads to.
pub(crate) enum Address {
    /// One server.
    Server(Client),
    /// Some nodes of a cluster, enough to learn of the others.
    Cluster(Vec<ConnectionInfo>),
    /// Whoever is the master at the time.
    Master(Sentinels),
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, StreamError> {
        let parsed = take_authority(url).and_then(|(url, trusted)| match url.split_once("://") {
            Some((scheme @ ("redis+cluster" | "rediss+cluster"), rest)) => cluster(scheme, rest, &trusted),
            Some((scheme @ ("redis+sentinel" | "rediss+sentinel"), rest)) => sentinel(scheme, rest, &trusted),
            _ => client(&url, &trusted).map(Self::Server),
        });
        parsed.map_err(|why| StreamError::Address { url: masked(url), why: mask_in(&why, url) })
    }
}

/// The certificates, in PEM format, that may vouch for a server; none for those that this system trusts.
type Trusted = Option<Vec<u8>>;

/// Takes `tls_ca=FILE` out of an address, and reads the file.
fn take_authority(url: &str) -> Result<(String, Trusted), String> {
    let Some((front, query)) = url.split_once('?') else { return Ok((url.to_owned(), None)) };
    let (authority, others): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|setting| setting.starts_with("tls_ca="));
    let Some(path) = authority.first().and_then(|setting| setting.split_once('=')).map(|(_, path)| path)
    else {
        return Ok((url.to_owned(), None));
    };
    if !url.starts_with("rediss") {
        return Err("tls_ca is for addresses with TLS: write rediss instead of redis".into());
    }
    let pem = std::fs::read(path).map_err(|error| format!("tls_ca: {path} cannot be read: {error}"))?;
    let query = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
    Ok((format!("{front}{query}"), Some(pem)))
}

/// How to connect to one server, and whom to trust there.
fn connect_info(url: &str, trusted: &Trusted) -> Result<ConnectionInfo, String> {
    Ok(client(url, trusted)?.get_connection_info().clone())
}

fn client(url: &str, trusted: &Trusted) -> Result<Client, String> {
    // The parser's words never quote the address.
    let info = url.into_connection_info().map_err(|e| e.to_string())?;
    if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        return Client::open(info).map_err(|e| e.to_string());
    }
    // Somebody else in this process may have chosen one: then that one stays.
    let _ = ring::default_provider().install_default();
    match trusted {
        None => Client::open(info),
        Some(pem) => {
            let root_cert = Some(pem.clone());
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
        }
    }
    .map_err(|e| e.to_string())
}

/// `[user:password@]host:port[,host:port…]`
fn cluster(scheme: &str, rest: &str, trusted: &Trusted) -> Result<Address, String> {
    let parts = Parts::of(scheme, rest, trusted);
    let seeds =
        parts.hosts().map(|host| connection(&parts, host?, parts.tail)).collect::<Result<Vec<_>, _>>()?;
    if seeds.iter().any(|seed| seed.redis_settings().db() != 0) {
        return Err("a cluster has no databases: leave out the number".into());
    }
    Ok(Address::Cluster(seeds))
}

/// `[user:password@]sentinel:port[,sentinel:port…]/master-name[/db][?sentinel_user=…&sentinel_pass=…]`
fn sentinel(scheme: &str, rest: &str, trusted: &Trusted) -> Result<Address, String> {
    let parts = Parts::of(scheme, rest, trusted);
    let (path, query) = parts.tail.split_once('?').unwrap_or((parts.tail, ""));
    let mut path = path.trim_start_matches('/').splitn(2, '/');
    let master = path.next().filter(|name| !name.is_empty());
    let master =
        master.ok_or("the master's name is missing: it follows the hosts, as in host:26379/mymaster")?;
    let database = path.next().unwrap_or_default();
    let (mut user, mut password) = ("", "");
    for (name, value) in
        query.split('&').filter(|pair| !pair.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")))
    {
        match name {
            "sentinel_user" => user = value,
            "sentinel_pass" => password = value,
            _ => return Err(format!("unknown setting {name}: there are sentinel_user and sentinel_pass")),
        }
    }
    let own =
        if user.is_empty() && password.is_empty() { String::new() } else { format!("{user}:{password}@") };
    let to_sentinel = Parts { credentials: &own, ..parts };
    let client = |host: Result<&str, String>| {
        let host = host?;
        let port_is_missing = host.ends_with(']') || !host.contains(':');
        let host = if port_is_missing { format!("{host}:{SENTINEL_PORT}") } else { host.to_owned() };
        Client::open(connection(&to_sentinel, &host, "")?).map_err(|e| e.to_string())
    };
    let sentinels = parts.hosts().map(client).collect::<Result<Vec<_>, _>>()?;
    // Only the host is put in later.
    let master_info = connection(&parts, "master", &format!("/{database}"))?;
    Ok(Address::Master(Sentinels::new(sentinels, master.to_owned(), master_info)))
}

/// An address of several hosts, taken apart.
#[derive(Clone, Copy)]
struct Parts<'a> {
    /// What one host's address begins with: with or without TLS.
    scheme: &'static str,
    /// Up to and with the `@`, or empty.
    credentials: &'a str,
    hosts: &'a str,
    /// Path and query.
    tail: &'a str,
    trusted: &'a Trusted,
}

impl<'a> Parts<'a> {
    fn of(scheme: &str, rest: &'a str, trusted: &'a Trusted) -> Self {
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (credentials, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let scheme = if scheme.starts_with("rediss") { "rediss" } else { "redis" };
        Self { scheme, credentials, hosts, tail, trusted }
    }

    fn hosts(&self) -> impl Iterator<Item = Result<&'a str, String>> + use<'a> {
        let named =
            |host: &'a str| (!host.is_empty()).then_some(host).ok_or_else(|| "a host is missing".into());
        self.hosts.split(',').map(str::trim).map(named)
    }
}

fn connection(parts: &Parts<'_>, host: &str, tail: &str) -> Result<ConnectionInfo, String> {
    let Parts { scheme, credentials, trusted, .. } = parts;
    connect_info(&format!("{scheme}://{credentials}{host}{tail}"), trusted)
}

/// The same user, password and settings, at another place.
pub(crate) fn moved_to(info: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let host = host.to_owned();
    let addr = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    info.clone().set_addr(addr)
}

/// An address without its credentials, also where the scheme was forgotten.
pub(crate) fn masked(url: &str) -> String {
    if url.contains("://") {
        mask(url).into_owned()
    } else {
        mask(&format!("redis://{url}")).replacen("redis://", "", 1)
    }
}

/// A message that may quote the address, with the address masked.
fn mask_in(message: &str, url: &str) -> String {
    message.replace(url, &masked(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_show() {
        for (url, shown) in [
            ("redis://user:secret@host:6379/1", "redis://***@host:6379/1"),
            ("redis://:se@c/ret@host/1", "redis://***@host/1"),
            ("redis+unix:///run/redis.sock?pass=secret", "redis+unix:///run/redis.sock?pass=***"),
            ("redis+cluster://user:secret@a:1,b:2", "redis+cluster://***@a:1,b:2"),
            ("redis+sentinel://:secret@a:1,b:2/main", "redis+sentinel://***@a:1,b:2/main"),
            (
                "redis+sentinel://a:1/main?sentinel_user=me&sentinel_pass=secret",
                "redis+sentinel://a:1/main?sentinel_user=***&sentinel_pass=***",
            ),
            ("user:secret@host", "***@host"),
            ("localhost:6379", "localhost:6379"),
        ] {
            assert_eq!(masked(url), shown, "{}", url.len());
        }
    }

    #[test]
    fn address_is_misread() {
        let Ok(Address::Cluster(seeds)) = Address::parse("redis+cluster://me:p%40ss@a:7000,[::1]:7001,c")
        else {
            panic!("no cluster")
        };
        let places: Vec<String> = seeds.iter().map(|seed| seed.addr().to_string()).collect();
        assert_eq!(places, ["a:7000", "::1:7001", "c:6379"]);
        assert!(seeds.iter().all(|seed| seed.redis_settings().password() == Some("p@ss")));
        let Ok(Address::Master(sentinels)) = Address::parse(
            "redis+sentinel://:own@a,b:26380,[::1]/main/2?sentinel_user=me&sentinel_pass=theirs",
        ) else {
            panic!("no sentinels")
        };
        let (asked, name, master) = sentinels.parts();
        let asked: Vec<_> = asked.iter().map(|client| client.get_connection_info()).collect();
        let places: Vec<String> = asked.iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(places, ["a:26379", "b:26380", "::1:26379"]);
        assert!(asked.iter().all(|info| info.redis_settings().password() == Some("theirs")));
        assert_eq!((name, master.redis_settings().db()), ("main", 2));
        assert_eq!(master.redis_settings().password(), Some("own"));
    }

    #[test]
    fn wrong_address_is_not_explained() {
        for (url, why) in [
            ("redis+cluster://:secret@", "a host is missing"),
            ("redis+cluster://:secret@a,,b", "a host is missing"),
            ("redis+cluster://:secret@a/1", "a cluster has no databases"),
            ("redis+sentinel://:secret@a", "the master's name is missing"),
            ("redis+sentinel://:secret@a/main/x", "database number"),
            ("redis+sentinel://a/main?sentinel_password=secret", "unknown setting sentinel_password"),
            ("redis://:secret@a/?tls_ca=/nowhere", "write rediss"),
            ("rediss+cluster://:secret@a?tls_ca=/nowhere/ca.pem", "/nowhere/ca.pem cannot be read"),
        ] {
            let text = Address::parse(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains(why), "{url}: {text}");
            assert!(!text.contains("=secret") && !text.contains(":secret"), "{text}");
        }
    }
}
