//! How agents and controllers reach an MQTT broker: its address, and TLS 1.3 to it.
//!
//! One crate, so that a household and its operator cannot differ in what they call safe: TLS 1.3
//! only, the broker's name is always checked, a client's key must be private. There is no switch
//! that turns a check off; who has a certificate of their own names its authority.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rumqttc::Transport;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};

/// Largest file with certificates or a key, bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
const PLAIN_PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub is_private: bool,
}

impl BrokerUrl {
    /// Reads `mqtt://host:port` or `mqtts://host:port`; without a port 1883 or 8883. `None` when it
    /// is nothing of that form: no user, no path, no other scheme.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_private = match scheme {
            "mqtt" | "tcp" => false,
            "mqtts" | "ssl" => true,
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let default = if is_private { TLS_PORT } else { PLAIN_PORT };
        let port =
            port.map_or(Some(default), |port| port.parse().ok().filter(|&port| port != 0))?;
        let plain = !host.is_empty() && !host.contains(['/', '@', ' ', '?', '#']);
        plain.then(|| Self { host: host.to_owned(), port, is_private })
    }
}

/// `tls = { … }` beside a broker's `url`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// File with the certificates (PEM) of the authority that vouches for the broker; without it the
    /// system's authorities do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// File with the client's own certificate (PEM), followed by intermediate ones if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// File with the key of that certificate (PEM), readable by its owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// Why there can be no private connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `tls` beside an address that is not encrypted.
    #[error("tls is given, but the address is not encrypted: write mqtts:// instead of mqtt://")]
    PlainAddress,
    /// A certificate without its key, or the other way round.
    #[error("tls.cert_file and tls.key_file belong together: give both or neither")]
    HalfIdentity,
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// Others can read the key.
    #[error("others can read {path} (mode {mode:04o}): run `chmod 600 {path}`", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system knows no authorities.
    #[error(
        "the system has no certificate authorities: install ca-certificates or give tls.ca_file"
    )]
    NoAuthorities,
    /// Certificate and key do not fit together, or cannot be used.
    #[error("the client's certificate cannot be used: {0}")]
    Identity(rustls::Error),
}

impl TlsConfig {
    /// The paths in it, to be made relative to the configuration's folder.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.ca_file, &mut self.cert_file, &mut self.key_file].into_iter().flatten()
    }

    /// Checks what can be checked without reading a file.
    ///
    /// # Errors
    /// [`TlsError::PlainAddress`] or [`TlsError::HalfIdentity`].
    pub fn check(&self, url: &BrokerUrl) -> Result<(), TlsError> {
        if !url.is_private {
            return Err(TlsError::PlainAddress);
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(TlsError::HalfIdentity);
        }
        Ok(())
    }

    fn client(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has suites for TLS 1.3")
            .with_root_certificates(self.authorities()?);
        match (&self.cert_file, &self.key_file) {
            (Some(cert_file), Some(key_file)) => builder
                .with_client_auth_cert(certificates(cert_file)?, key(key_file)?)
                .map_err(TlsError::Identity),
            (None, None) => Ok(builder.with_no_client_auth()),
            _ => Err(TlsError::HalfIdentity),
        }
    }

    fn authorities(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        let Some(path) = &self.ca_file else {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return if store.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(store) };
        };
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|error| TlsError::Content {
                path: path.clone(),
                reason: format!("a certificate in it cannot be used: {error}"),
            })?;
        }
        Ok(store)
    }
}

/// How to connect to a broker; the files are read now.
///
/// # Errors
/// [`TlsError`].
pub fn transport(url: &BrokerUrl, tls: Option<&TlsConfig>) -> Result<Transport, TlsError> {
    match (url.is_private, tls) {
        (false, None) => Ok(Transport::Tcp),
        (false, Some(_)) => Err(TlsError::PlainAddress),
        (true, tls) => {
            let client = tls.cloned().unwrap_or_default().client()?;
            Ok(Transport::tls_with_config(client.into()))
        }
    }
}

/// What to do about a failed handshake, by what the library says of it.
#[must_use]
pub fn advice(failure: &str) -> Option<&'static str> {
    const ADVICE: [(&str, &str); 9] = [
        ("UnknownIssuer", "the broker's certificate is not from an authority in tls.ca_file"),
        ("BadSignature", "the broker's certificate is not from an authority in tls.ca_file"),
        ("NotValidForName", "the broker's certificate is for another name: use the name in it"),
        ("Expired", "a certificate has expired, or this computer's clock is wrong"),
        ("NotValidYet", "a certificate is not valid yet, or this computer's clock is wrong"),
        (
            "CertificateRequired",
            "the broker wants to see a certificate: give tls.cert_file and tls.key_file",
        ),
        ("UnknownCA", "the broker does not know the authority of our certificate"),
        ("DecryptError", "the broker does not know the authority of our certificate"),
        ("InvalidContentType", "no TLS is spoken there: is it the broker's port for mqtts?"),
    ];
    ADVICE.into_iter().find(|(word, _)| failure.contains(word)).map(|(_, advice)| advice)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let file = |error| TlsError::File { path: path.to_owned(), error };
    if std::fs::metadata(path).map_err(file)?.len() > MAX_FILE_BYTES {
        return Err(file(io::Error::other("it is too large for certificates")));
    }
    std::fs::read(path).map_err(file)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |reason: String| TlsError::Content { path: path.to_owned(), reason };
    let text = read(path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| content(error.to_string()))?;
    if found.is_empty() {
        return Err(content("there is no certificate (BEGIN CERTIFICATE) in it".to_owned()));
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let metadata = std::fs::metadata(path);
    let file = |error| TlsError::File { path: path.to_owned(), error };
    let mode = metadata.map_err(file)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TlsError::Exposed { path: path.to_owned(), mode });
    }
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| TlsError::Content {
        path: path.to_owned(),
        reason: format!("there is no key (BEGIN PRIVATE KEY) in it: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        let url = |host: &str, port, is_private| {
            Some(BrokerUrl { host: host.to_owned(), port, is_private })
        };
        for (text, expected) in [
            ("mqtt://127.0.0.1:1884", url("127.0.0.1", 1884, false)),
            ("mqtt://broker.example", url("broker.example", 1883, false)),
            ("mqtts://broker.example/", url("broker.example", 8883, true)),
            ("mqtts://broker.example:1", url("broker.example", 1, true)),
            ("ssl://h:8884", url("h", 8884, true)),
            ("tcp://h:1", url("h", 1, false)),
            ("mqtt://[::1]:1883", url("::1", 1883, false)),
            ("mqtts://[2001:db8::1]", url("2001:db8::1", 8883, true)),
            ("mqtt://[::1]1883", None),
            ("mqtt://h:0", None),
            ("mqtt://h:65536", None),
            ("mqtt://h:", None),
            ("mqtt://:1883", None),
            ("mqtt://user@h:1883", None),
            ("mqtt://h/path", None),
            ("http://h:1883", None),
            ("h:1883", None),
            ("", None),
        ] {
            assert_eq!(BrokerUrl::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str, mode| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            path
        };
        let empty = file("empty.crt", "nothing", 0o644);
        let open = file("open.key", "-----BEGIN PRIVATE KEY-----", 0o644);
        let none = file("none.key", "nothing", 0o600);
        let private = BrokerUrl::parse("mqtts://h").expect("an address");
        let plain = BrokerUrl::parse("mqtt://h").expect("an address");
        let ca = |path: PathBuf| TlsConfig { ca_file: Some(path), ..TlsConfig::default() };
        let refused = |url: &BrokerUrl, tls: TlsConfig| {
            transport(url, Some(&tls)).err().expect("refused").to_string()
        };
        assert!(refused(&plain, TlsConfig::default()).contains("mqtts://"));
        assert!(refused(&private, ca(folder.path().join("missing"))).contains("cannot read"));
        assert!(refused(&private, ca(empty.clone())).contains("BEGIN CERTIFICATE"));
        let half = TlsConfig { cert_file: Some(empty), ..TlsConfig::default() };
        assert!(matches!(half.check(&private), Err(TlsError::HalfIdentity)));
        assert!(matches!(half.check(&plain), Err(TlsError::PlainAddress)));
        assert!(key(&open).expect_err("open").to_string().contains("chmod 600"));
        assert!(key(&none).expect_err("none").to_string().contains("BEGIN PRIVATE KEY"));
        assert!(matches!(transport(&plain, None), Ok(Transport::Tcp)));
    }
}
