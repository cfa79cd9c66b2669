//! Who may ask: the authority a request is for, and the web origin it comes from. Against DNS rebinding and cross-site
//! requests (2025-11-25, Transports, Security Warning).

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, HOST, ORIGIN, VARY,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};

use super::body::Body;
use super::refusal::Refusal;
use super::reply;
use crate::config::Access;

/// What of a client's text is repeated to it.
const SHOWN: usize = 100;

impl Access {
    /// The one authority that the request names must be allowed: `:authority` or absolute form, and `Host`, agree.
    pub(crate) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut lines = headers.get_all(HOST).iter();
        let (line, second) = (lines.next(), lines.next());
        if second.is_some() {
            return Err(Refusal::BadAuthority("more than one Host"));
        }
        let host = match line.map(|line| line.to_str().ok().and_then(parse_authority)) {
            Some(None) => return Err(Refusal::BadAuthority("Host is not an authority")),
            Some(host) => host,
            None => None,
        };
        let target = match uri.authority() {
            Some(authority) => Some(split(authority).ok_or(Refusal::BadAuthority("the target has no usable authority"))?),
            None => None,
        };
        let effective = match (target, host) {
            (Some(target), Some(host)) if !same(&target, &host, uri) => {
                return Err(Refusal::BadAuthority("Host and the request's target name different authorities"));
            }
            (Some(effective), _) | (None, Some(effective)) => effective,
            (None, None) => return Err(Refusal::NoHost),
        };
        if self.allows_host(&effective) { Ok(()) } else { Err(Refusal::HostNotAllowed(shown(&effective.0))) }
    }

    /// The same without parsing, for the spelling that nearly every client uses. `host` is the only line of that field.
    pub(crate) fn is_plainly_here(&self, uri: &Uri, host: Option<&HeaderValue>) -> bool {
        self.local && uri.authority().is_none() && host.is_some_and(is_plainly_local)
    }

    /// No origin (no browser) is fine; `null` never is.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut lines = headers.get_all(ORIGIN).iter();
        let Some(line) = lines.next() else { return Ok(()) };
        let origin = line.to_str().unwrap_or("?").to_ascii_lowercase();
        if lines.next().is_none() && self.allows_origin(&origin) {
            return Ok(());
        }
        Err(Refusal::OriginNotAllowed(shown(&origin)))
    }

    fn allows_host(&self, (name, port): &(String, Option<u16>)) -> bool {
        let with_port = port.map(|port| format!("{name}:{port}"));
        self.local && is_local(name)
            || self.hosts.iter().any(|host| host == "*" || host == name || Some(host) == with_port.as_ref())
    }

    fn allows_origin(&self, origin: &str) -> bool {
        if self.origins.iter().any(|allowed| allowed == origin) {
            return true;
        }
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let local = |(name, _): (String, Option<u16>)| is_local(&name);
        self.local && matches!(scheme, "http" | "https") && parse_authority(authority).is_some_and(local)
    }
}

/// What a browser asks before it lets a page of that (allowed) origin ask.
pub(crate) fn preflight(headers: &HeaderMap) -> Response<Body> {
    let mut response = reply::status(StatusCode::NO_CONTENT);
    let out = response.headers_mut();
    out.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    out.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|names| names.to_str().ok()).unwrap_or_default();
    let allowed: Vec<String> =
        asked.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| may_send(name)).collect();
    if let Ok(names) = HeaderValue::from_str(&allowed.join(", ")) {
        out.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    response
}

/// Lets the page of an allowed origin read the response.
pub(crate) fn expose(request: &HeaderMap, response: &mut Response<Body>) {
    let Some(origin) = request.get(ORIGIN) else { return };
    let out = response.headers_mut();
    out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    out.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("mcp-session-id, www-authenticate, retry-after"));
    out.append(VARY, HeaderValue::from_static("origin"));
}

fn may_send(name: &str) -> bool {
    matches!(
        name,
        "accept" | "authorization" | "content-type" | "last-event-id" | "traceparent" | "tracestate" | "baggage" | "x-api-key"
    ) || name.starts_with("mcp-")
}

fn is_local(name: &str) -> bool {
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// A local name, and perhaps a port.
fn is_plainly_local(line: &HeaderValue) -> bool {
    let line = line.as_bytes();
    let port = line.strip_prefix(b"127.0.0.1").or_else(|| line.strip_prefix(b"localhost"));
    match port {
        Some([]) => true,
        Some([b':', port @ ..]) => {
            port.iter().all(u8::is_ascii_digit) && ((1..=4).contains(&port.len()) || port.len() == 5 && *port <= b"65535"[..])
        }
        _ => false,
    }
}

fn parse_authority(text: &str) -> Option<(String, Option<u16>)> {
    split(&text.parse().ok()?)
}

/// Name in lower case without a trailing dot, and port. Credentials have no place here.
fn split(authority: &Authority) -> Option<(String, Option<u16>)> {
    let text = authority.as_str();
    let host = authority.host();
    let rest = text.strip_prefix(host)?; // fails on user info
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some("") => None,
        Some(port) => Some(port.parse().ok()?),
        None => return None,
    };
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    (!name.is_empty()).then_some((name, port))
}

fn same(target: &(String, Option<u16>), host: &(String, Option<u16>), uri: &Uri) -> bool {
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    target.0 == host.0 && target.1.unwrap_or(default) == host.1.unwrap_or(default)
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(hosts: &[&str], origins: &[&str], local: bool) -> Access {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Access { hosts: own(hosts), origins: own(origins), local }
    }

    fn host(access: &Access, target: &str, hosts: &[&str]) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).expect("a header value"));
        }
        let target = target.parse().expect("a target");
        let found = access.check_host(&target, &headers).map_err(|refusal| refusal.label());
        let only = headers.get(HOST).filter(|_| hosts.len() == 1);
        assert!(!access.is_plainly_here(&target, only) || found.is_ok(), "{hosts:?}");
        found
    }

    #[test]
    fn a_loopback_listener_serves_the_names_of_this_machine() {
        let access = access(&[], &[], true);
        for name in ["localhost", "LOCALHOST.", "127.0.0.1", "[::1]", "localhost:1", "127.0.0.1:8080", "[::1]:8080", "localhost:"]
        {
            assert_eq!(host(&access, "/mcp", &[name]), Ok(()), "{name}");
        }
        for name in ["evil.example.com", "localhost.evil.com", "127.0.0.2", "[::2]", "0.0.0.0"] {
            assert_eq!(host(&access, "/mcp", &[name]), Err("host_not_allowed"), "{name}");
        }
        for name in ["user@localhost", "localhost:x", "localhost:99999", "", "a b", "localhost/", ":80"] {
            assert_eq!(host(&access, "/mcp", &[name]), Err("bad_authority"), "{name}");
        }
    }

    #[test]
    fn the_usual_spelling_is_known_without_parsing() {
        let plainly = |local, target: &str, host: &str| {
            let line = HeaderValue::from_str(host).expect("a header value");
            access(&[], &[], local).is_plainly_here(&target.parse().expect("a target"), Some(&line))
        };
        assert!(plainly(true, "/mcp", "localhost") && plainly(true, "/mcp", "127.0.0.1:8080"));
        assert!(!plainly(false, "/mcp", "localhost"), "other names are served there");
        assert!(!plainly(true, "http://evil.example.com/mcp", "localhost"), "two names");
        assert!(!plainly(true, "/mcp", "localhost.evil.com") && !plainly(true, "/mcp", "localhost:99999"));
        assert!(!access(&[], &[], true).is_plainly_here(&Uri::from_static("/mcp"), None));
    }

    #[test]
    fn one_authority_must_be_named() {
        let access = access(&[], &[], true);
        assert_eq!(host(&access, "/mcp", &[]), Err("no_host"));
        assert_eq!(host(&access, "/mcp", &["localhost", "localhost"]), Err("bad_authority"));
        assert_eq!(host(&access, "http://localhost/mcp", &[]), Ok(()));
        assert_eq!(host(&access, "http://localhost/mcp", &["localhost:80"]), Ok(()));
        assert_eq!(host(&access, "http://evil.example.com/mcp", &["localhost"]), Err("bad_authority"));
        assert_eq!(host(&access, "http://localhost/mcp", &["evil.example.com"]), Err("bad_authority"));
        assert_eq!(host(&access, "http://localhost:81/mcp", &["localhost:82"]), Err("bad_authority"));
    }

    #[test]
    fn elsewhere_only_the_names_given_are_served() {
        let access = access(&["mcp.example.com", "other:8443"], &[], false);
        assert_eq!(host(&access, "/mcp", &["MCP.example.com:1234"]), Ok(()));
        assert_eq!(host(&access, "/mcp", &["other:8443"]), Ok(()));
        assert_eq!(host(&access, "/mcp", &["other:8444"]), Err("host_not_allowed"));
        assert_eq!(host(&access, "/mcp", &["localhost"]), Err("host_not_allowed"));
    }

    #[test]
    fn origins_are_exact_or_of_this_machine() {
        let origin = |access: &Access, origin: &str| {
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_str(origin).expect("a header value"))]);
            access.check_origin(&headers).is_ok()
        };
        let local = access(&[], &["https://app.example.com"], true);
        for good in
            ["http://localhost", "http://LOCALHOST:3000", "https://127.0.0.1:1", "http://[::1]:5173", "https://app.example.com"]
        {
            assert!(origin(&local, good), "{good}");
        }
        for bad in [
            "null",
            "",
            "http://evil.example.com",
            "http://localhost.evil.com",
            "https://app.example.com:444",
            "file://",
            "http://a@localhost",
        ] {
            assert!(!origin(&local, bad), "{bad}");
        }
        assert!(!origin(&access(&["*"], &[], false), "http://localhost"));
        assert!(access(&[], &[], false).check_origin(&HeaderMap::new()).is_ok());
    }
}
