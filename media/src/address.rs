use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use peregrine_proto::SourceUri;

/// A source's address, parsed. It has the credentials that the source is opened with, so it has no Debug.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A video file.
    File(PathBuf),
    /// Something that libav connects to.
    Network { scheme: String, host: String, port: Option<u16>, uri: String },
    /// A video device of this machine.
    Device(PathBuf),
    /// Whatever OpenCV's `VideoCapture` takes: a pipeline, a device number, an address.
    Capture(String),
    /// A folder of pictures.
    Images(PathBuf),
    /// A rendered scene, what follows `synthetic:`.
    Synthetic(String),
    /// Frames that clients bring: nothing is opened.
    Ingest,
}

/// The advice where an `@` stands behind the host.
const PERCENT_ENCODE: &str = "percent-encode `/`, `?`, `#` and `@` in user and password (`%2F`, `%3F`, `%23`, `%40`), and an \
                              `@` in the path or the query";
/// A longer word before the first `:` is no scheme.
const LONGEST_SCHEME: usize = 8;

/// The schemes of network addresses.
const NETWORK: [&str; 4] = ["rtsp", "rtsps", "http", "https"];

impl Address {
    /// Reads an address as the configuration has it.
    ///
    /// # Errors
    /// A sentence about what is wrong, without the address.
    #[allow(clippy::disallowed_methods, reason = "what it becomes is what is opened")]
    pub(crate) fn parse(uri: &SourceUri) -> Result<Self, String> {
        let uri = uri.in_full();
        if uri.trim().is_empty() {
            return Err("the address is empty: give a path or an address".into());
        }
        if uri.chars().any(char::is_control) {
            return Err("the address has control characters: remove them".into());
        }
        let Some((scheme, rest)) = split_scheme(uri) else { return Ok(Self::File(uri.into())) };
        let path = || PathBuf::from(rest.strip_prefix("//").unwrap_or(rest));
        match scheme.to_ascii_lowercase().as_str() {
            "ingest" if rest.is_empty() => Ok(Self::Ingest),
            "ingest" => Err("write `ingest:` alone: clients name the camera when they bring frames".into()),
            _ if rest.is_empty() => Err("nothing follows its `:`".into()),
            "file" => Ok(Self::File(path())),
            "images" => Ok(Self::Images(path())),
            "v4l2" => Ok(Self::Device(path())),
            "opencv" => Ok(Self::Capture(rest.trim().to_owned())),
            "synthetic" => Ok(Self::Synthetic(rest.to_owned())),
            scheme if NETWORK.contains(&scheme) => network(scheme, rest),
            // A file may have a colon in its name.
            _ if Path::new(uri).exists() => Ok(Self::File(uri.into())),
            _ => Err(format!(
                "{} is no scheme known here: use a path, file:, images:, rtsp://, rtsps://, http://, https://, \
                 v4l2:, opencv:, ingest: or synthetic:",
                // Where the scheme was forgotten it is a user's name.
                match rest.starts_with("//") && scheme.len() <= LONGEST_SCHEME {
                    true => format!("`{scheme}:`"),
                    false => "what stands before its first `:`".into(),
                }
            )),
        }
    }
}

fn split_scheme(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(plain))
        .then_some((scheme, rest))
}

/// Splits as libav does (`av_url_split`), so that the host that is checked is the host that is connected to.
fn network(scheme: &str, rest: &str) -> Result<Address, String> {
    let rest = rest.strip_prefix("//").ok_or_else(|| format!("write `{scheme}://host/…`"))?;
    if rest.contains(|c: char| c.is_whitespace() || c == '\\') {
        return Err(
            "a network address has no spaces or backslashes: percent-encode them (`%20`, `%5C`)".into()
        );
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Of a password with one of these signs, a part would be taken for the host.
    let later = rest[authority.len()..].contains('@');
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host_port)| host_port);
    let (host, port) = if let Some(bracketed) = host_port.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']').ok_or("the address has a `[` without its `]`")?;
        (host, port.strip_prefix(':'))
    } else {
        match host_port.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host_port, None),
        }
    };
    if host.is_empty() {
        return Err(format!("the address has no host: write `{scheme}://host/…`"));
    }
    let port = match port {
        None => None,
        Some(text) => {
            let port: Result<u16, _> = text.parse();
            Some(port.map_err(|_| {
                if later { PERCENT_ENCODE } else { "what follows the host's `:` is no port from 0 to 65535" }
            })?)
        }
    };
    if later && host.parse::<IpAddr>().is_err() {
        return Err(PERCENT_ENCODE.into());
    }
    Ok(Address::Network {
        scheme: scheme.to_owned(),
        host: host.to_ascii_lowercase(),
        port,
        uri: format!("{scheme}://{rest}"),
    })
}
