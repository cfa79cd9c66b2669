//! Where the admin listener is, for a program that asks it: found from the same flags, environment and file, of which nothing
//! else needs to be right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::settings::flags;
use super::{Fault, Given, Listen, load, options};

/// Whom to ask, and by which name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) address: Listen,
    pub(crate) host: String,
}

const LISTEN: &str = "admin_listen";
const HOSTS: &str = "admin_allowed_host";

pub(crate) fn probe(given: &Given) -> Result<Probe, Fault> {
    let settings = load::lookup(given, &[LISTEN, HOSTS])?;
    let flag = "--admin-listen";
    let example = options::find(LISTEN).map(|opt| opt.example().replace('"', "")).unwrap_or_default();
    let Some(text) = settings.get(LISTEN).and_then(|setting| setting.text()) else {
        let text = format!("there is no admin listener to ask; add: {flag} {example}, or {LISTEN} = \"{example}\" in the file");
        return Err(Fault::Usage(text));
    };
    let text = text.to_string_lossy();
    let address = Listen::parse(flag, &text).map_err(Fault::Usage)?;
    let hosts = flags(&settings).map(|flags| flags.admin_allowed_host).unwrap_or_default();
    let host = match address.is_local() {
        true => Some("localhost".to_owned()),
        false => hosts.into_iter().find(|name| name != "*"),
    };
    let address = match address {
        Listen::Tcp(address) if address.port() == 0 => {
            return Err(Fault::Usage(format!("{flag} {text}: port 0 is another port at each start; write {example}")));
        }
        Listen::Tcp(mut address) if address.ip().is_unspecified() => {
            let loopback: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            address.set_ip(loopback);
            Listen::Tcp(address)
        }
        address => address,
    };
    let host = host.unwrap_or_else(|| address.to_string());
    Ok(Probe { address, host })
}
