use std::path::{Path, PathBuf};

/// What a source's address means.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The schemes of network addresses.
const NETWORK: [&str; 4] = ["rtsp", "rtsps", "http", "https"];

impl Address {
    /// Reads an address as the configuration has it.
    ///
    /// # Errors
    /// A sentence about what is wrong, without the address.
    pub(crate) fn parse(uri: &str) -> Result<Self, String> {
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
            _ if rest.is_empty() => Err(format!("nothing follows `{scheme}:`")),
            "file" => Ok(Self::File(path())),
            "images" => Ok(Self::Images(path())),
            "v4l2" => Ok(Self::Device(path())),
            "opencv" => Ok(Self::Capture(rest.trim().to_owned())),
            "synthetic" => Ok(Self::Synthetic(rest.to_owned())),
            scheme if NETWORK.contains(&scheme) => network(scheme, rest),
            // A file may have a colon in its name.
            _ if Path::new(uri).exists() => Ok(Self::File(uri.into())),
            other => Err(format!(
                "`{other}:` is no scheme known here: use a path, file:, images:, rtsp://, rtsps://, http://, https://, \
                 v4l2:, opencv:, ingest: or synthetic:"
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
        return Err("a network address has no spaces or backslashes: percent-encode them".into());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (credentials, host_port) = match authority.rsplit_once('@') {
        Some((credentials, host_port)) => (Some(credentials), host_port),
        None => (None, authority),
    };
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
                // A `/` in a password ends the host too early; the text may be a part of that password.
                if credentials.is_none() && rest.contains('@') {
                    "percent-encode `/`, `?`, `#` and `@` in the password (`%2F`, `%3F`, `%23`, `%40`)"
                } else {
                    "what follows the host's `:` is no port from 0 to 65535"
                }
            })?)
        }
    };
    Ok(Address::Network {
        scheme: scheme.to_owned(),
        host: host.to_ascii_lowercase(),
        port,
        uri: format!("{scheme}://{rest}"),
    })
}
