//! URLs of peer lists.

use std::fmt;
use std::str::FromStr;

use ureq::http::Uri;
use ureq::http::uri::InvalidUri;

/// The URL of a peer list, for instance `http://192.0.2.7:9464/peers`. A provider serves its list at `/peers`. The URL
/// may contain any path except `/`, because another HTTP server may serve a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersUrl(String);

impl PeersUrl {
    /// Returns the URL as text.
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
            return Err(invalid("it contains a user name"));
        }
        if authority.as_str() != authority.host() && authority.port_u16().is_none() {
            return Err(invalid("it has an invalid port after the host"));
        }
        if uri.path() == "/" {
            return Err(invalid("it has no path to a list"));
        }
        Ok(Self(uri.to_string()))
    }
}

impl fmt::Display for PeersUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An error from parsing the URL of a peer list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// The URL begins with `https`, but peer lists are read over plain HTTP only.
    #[error(
        "{0:?} begins with https, but peer lists are read over plain HTTP only, because every answer from a listed \
         peer is verified; use http:// or the multiaddr of a peer"
    )]
    Https(String),
    /// The text is not a URL.
    #[error("{text:?} is not the URL of a peer list: {source}; expected http://<host>[:<port>]/peers")]
    Syntax {
        /// The text that was parsed.
        text: String,
        /// The error from the URL parser.
        #[source]
        source: InvalidUri,
    },
    /// The text is a URL, but not in the form of a peer list's URL.
    #[error("{text:?} is not the URL of a peer list: {reason}; expected http://<host>[:<port>]/peers")]
    Form {
        /// The text that was parsed.
        text: String,
        /// The reason for the refusal, as a clause such as `it names no host`.
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
    fn any_other_url_is_refused_with_an_error_that_shows_the_valid_form() {
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
