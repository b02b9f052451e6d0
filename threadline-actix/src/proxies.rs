//! The address a request came from, behind the proxies a host trusts.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{self, HeaderMap, HeaderName};
use ipnet::IpNet;

/// The header in which the trusted proxies say for whom they ask.
///
/// Only the one they write: a proxy passes the other on as the client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: 203.0.113.9, 10.0.0.1`
    XForwardedFor,
    /// `Forwarded: for=203.0.113.9, for="[2001:db8::1]:4711"` (RFC 7239)
    Forwarded,
}

/// Whom to believe about the address of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    header: Option<ForwardedHeader>,
}

impl Proxies {
    pub(crate) fn new(trusted: impl IntoIterator<Item = IpNet>, header: ForwardedHeader) -> Self {
        Self { trusted: trusted.into_iter().collect(), header: Some(header) }
    }

    /// The client's address: the peer's, unless that is a trusted proxy; then the last one in the header that is none.
    ///
    /// Each proxy appends the address it was asked from, so the list is believed from its end and only as far as trusted
    /// proxies wrote it. What cannot be read ends it.
    pub(crate) fn client(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = peer?.ip().to_canonical();
        let Some(header) = self.header else {
            return Some(client);
        };
        let (name, parse): (HeaderName, fn(&str) -> Option<IpAddr>) = match header {
            ForwardedHeader::XForwardedFor => (header::X_FORWARDED_FOR, address),
            ForwardedHeader::Forwarded => (header::FORWARDED, forwarded_for),
        };
        // Each by itself, and as bytes: what a client has written does not spoil what proxies have appended.
        let hops: Vec<&[u8]> =
            headers.get_all(name).flat_map(|value| split_unquoted(value.as_bytes(), b',')).collect();
        for hop in hops.into_iter().rev() {
            if !self.trusted.iter().any(|network| network.contains(&client)) {
                break;
            }
            let Some(next) = str::from_utf8(hop).ok().and_then(|hop| parse(hop.trim())) else {
                break;
            };
            client = next;
        }
        Some(client)
    }
}

/// An address with or without a port, an IPv6 one with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

/// The parts of a list, which a separator in double quotes does not divide.
/// Source: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.4>
fn split_unquoted(list: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    list.split(move |&byte| {
        let divides = byte == separator && !quoted;
        (quoted, escaped) = match byte {
            _ if escaped => (quoted, false),
            b'\\' if quoted => (quoted, true),
            b'"' => (!quoted, false),
            _ => (quoted, false),
        };
        divides
    })
    .collect()
}

/// The address in one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let value = split_unquoted(element.as_bytes(), b';').into_iter().find_map(|pair| {
        let (name, value) = str::from_utf8(pair).ok()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    })?;
    address(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn client(header: Option<ForwardedHeader>, peer: &str, values: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
        let proxies = header.map_or_else(Proxies::default, |header| Proxies::new(trusted, header));
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(header::X_FORWARDED_FOR, value.clone());
            headers.append(header::FORWARDED, value);
        }
        proxies.client(Some(peer.parse().unwrap()), &headers).unwrap().to_string()
    }

    #[test]
    fn forwarded_headers_are_believed_from_trusted_proxies_only_and_from_the_end() {
        use ForwardedHeader::{Forwarded, XForwardedFor};
        for (header, peer, values, expected) in [
            (None, "10.0.0.1:1", &["203.0.113.9"][..], "10.0.0.1"),
            (Some(XForwardedFor), "198.51.100.7:1", &["203.0.113.9"], "198.51.100.7"),
            (Some(XForwardedFor), "10.0.0.1:1", &["203.0.113.9"], "203.0.113.9"),
            (Some(XForwardedFor), "[::ffff:10.0.0.1]:1", &["203.0.113.9"], "203.0.113.9"),
            (Some(XForwardedFor), "10.0.0.1:1", &["6.6.6.6, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (Some(XForwardedFor), "10.0.0.1:1", &["6.6.6.6", "203.0.113.9:4711"], "203.0.113.9"),
            (Some(XForwardedFor), "10.0.0.1:1", &["10.0.0.3"], "10.0.0.3"),
            (Some(XForwardedFor), "10.0.0.1:1", &["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
            (Some(XForwardedFor), "10.0.0.1:1", &[], "10.0.0.1"),
            (Some(XForwardedFor), "[2001:db8::1]:1", &["[2001:db9::7]:80"], "2001:db9::7"),
            (
                Some(Forwarded),
                "10.0.0.1:1",
                &["for=6.6.6.6, for=203.0.113.9;proto=https;by=10.0.0.9"],
                "203.0.113.9",
            ),
            (Some(Forwarded), "10.0.0.1:1", &["For=\"[2001:db9::7]:4711\""], "2001:db9::7"),
            (Some(Forwarded), "10.0.0.1:1", &["for=_hidden"], "10.0.0.1"),
            (Some(Forwarded), "10.0.0.1:1", &["203.0.113.9"], "10.0.0.1"),
            // What the client has written before, in another encoding or in quotes.
            (Some(XForwardedFor), "10.0.0.1:1", &["ÿ, 203.0.113.9"], "203.0.113.9"),
            (Some(Forwarded), "10.0.0.1:1", &["for=ÿ, for=203.0.113.9"], "203.0.113.9"),
            (
                Some(Forwarded),
                "10.0.0.1:1",
                &[r#"for=203.0.113.9;host="a,for=6.6.6.6;x=";proto=https"#],
                "203.0.113.9",
            ),
            (Some(Forwarded), "10.0.0.1:1", &[r#"host="x;for=6.6.6.6\";y=";for=203.0.113.9"#], "203.0.113.9"),
        ] {
            assert_eq!(client(header, peer, values), expected, "{header:?} {peer} {values:?}");
        }
    }
}
