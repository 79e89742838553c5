//! Addresses of peer lists.

use std::fmt;
use std::str::FromStr;

use ureq::http::Uri;
use ureq::http::uri::InvalidUri;

/// The HTTP address of a peer list, `http://<host>[:<port>]/peers` where a provider serves it. Any other path may hold a
/// list too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersUrl(String);

impl PeersUrl {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PeersUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let invalid = |reason| UrlError::Form { text: text.to_owned(), reason };
        let uri: Uri = text.parse().map_err(|source| UrlError::Syntax { text: text.to_owned(), source })?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(UrlError::Https(text.to_owned())),
            _ => return Err(invalid("it does not begin with http://")),
        }
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
        if authority.host().is_empty() {
            return Err(invalid("it names no host"));
        }
        if authority.as_str().contains('@') {
            return Err(invalid("a user name has no place in it"));
        }
        if authority.as_str() != authority.host() && authority.port_u16().is_none() {
            return Err(invalid("what follows the host is no port"));
        }
        if uri.path() == "/" {
            return Err(invalid("it names a host but no list there"));
        }
        Ok(Self(uri.to_string()))
    }
}

impl fmt::Display for PeersUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not the address of a peer list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// An address that would need TLS.
    #[error(
        "{0:?} begins with https, which peer lists are not read over: nothing in them is trusted, whatever they lead to is \
         verified; use http:// or a multiaddr"
    )]
    Https(String),
    /// The text is no URL.
    #[error("{text:?} is not the address of a peer list: {source}; expected http://<host>[:<port>]/peers")]
    Syntax {
        /// What was given.
        text: String,
        /// What is wrong with it.
        #[source]
        source: InvalidUri,
    },
    /// A URL that leads to no list.
    #[error("{text:?} is not the address of a peer list: {reason}; expected http://<host>[:<port>]/peers")]
    Form {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_with_a_host_and_a_path_is_accepted() {
        for text in ["http://seed.test/peers", "http://127.0.0.1:9464/peers", "http://[::1]:1/lists/peers.json"] {
            assert_eq!(text.parse::<PeersUrl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused_with_what_to_write_instead() {
        for text in [
            "ftp://seed.test/peers",
            "seed.test/peers",
            "http://seed.test",
            "http://seed.test/",
            "http://user@seed.test/peers",
            "http://seed.test:70000/peers",
            "http://seed.test:/peers",
            "http:///peers",
            "http://:1/peers",
            "http://seed test/peers",
            "http://",
        ] {
            let error = text.parse::<PeersUrl>().unwrap_err();
            assert!(matches!(error, UrlError::Form { .. } | UrlError::Syntax { .. }), "{text}: {error:?}");
            assert!(error.to_string().contains("http://<host>"), "{error}");
        }
        let error = "https://seed.test/peers".parse::<PeersUrl>().unwrap_err();
        assert!(matches!(error, UrlError::Https(_)), "{error}");
    }
}
