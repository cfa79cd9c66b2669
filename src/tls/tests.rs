use std::path::PathBuf;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;

/// A certificate authority, with a folder for what it issues.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
}

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    pem: String,
    key_pem: String,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let certificate = params.self_signed(&key).expect("signed");
        Authority {
            folder: tempfile::tempdir().expect("a folder"),
            issuer: Issuer::new(params, key),
            pem: certificate.pem(),
            der: certificate.der().clone(),
        }
    }

    pub(crate) fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Issued {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, text).expect("written");
        file
    }

    /// Files for a server at `localhost`, whose clients this authority vouches for.
    pub(crate) fn server(&self) -> Tls {
        let issued = self.issue(|params| params.subject_alt_names = vec![dns("localhost")]);
        let (certificate, key) = (self.write("tls.pem", &issued.pem), self.write("tls.key", &issued.key_pem));
        Tls::read(&certificate, &key, [&*self.write("ca.pem", &self.pem)]).expect("good files")
    }
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("ASCII"))
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().expect("ASCII"))
}

fn email(name: &str) -> SanType {
    SanType::Rfc822Name(name.try_into().expect("ASCII"))
}

fn lines(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Vec<String> {
    Tls::read(certificate, key, client_ca).expect_err("refused").lines
}

fn named(chain: &[CertificateDer<'_>]) -> Option<String> {
    ClientCertificate::of(chain).map(|shown| shown.name.to_string())
}

fn name_of(change: impl FnOnce(&mut CertificateParams)) -> Option<String> {
    named(&[Authority::new().issue(change).certificate])
}

#[test]
fn a_certificate_is_named_by_the_most_telling_of_its_names() {
    let of = |names: &[SanType]| {
        name_of(|params| {
            params.subject_alt_names = names.to_vec();
            params.distinguished_name.push(DnType::CommonName, "somebody");
        })
    };
    let address = SanType::IpAddress([127, 0, 0, 1].into());
    assert_eq!(of(&[dns("a.example"), email("a@b.example"), uri("spiffe://b/a")]).as_deref(), Some("uri:spiffe://b/a"));
    assert_eq!(of(&[dns("a.example"), email("a@b.example"), email("c@d.example")]).as_deref(), Some("email:a@b.example"));
    assert_eq!(of(&[address.clone(), dns("a.example")]).as_deref(), Some("dns:a.example"));
    assert_eq!(of(&[address]).as_deref(), Some("subject:CN=somebody"));
    assert_eq!(of(&[]).as_deref(), Some("subject:CN=somebody"));
    assert_eq!(named(&[]), None);
}

#[test]
fn a_subject_is_written_as_rfc_4514_does() {
    let of = |attributes: &[(DnType, DnValue)]| {
        name_of(|params| attributes.iter().for_each(|(id, value)| params.distinguished_name.push(id.clone(), value.clone())))
    };
    let text = |text: &str| DnValue::Utf8String(text.to_owned());
    let country = DnValue::PrintableString("DE".try_into().expect("printable"));
    let three = [(DnType::CountryName, country), (DnType::OrganizationName, text("A, B+C")), (DnType::CommonName, text("alice"))];
    assert_eq!(of(&three).as_deref(), Some("subject:CN=alice,O=A\\, B\\+C,C=DE"));
    assert_eq!(of(&[(DnType::CommonName, text(" #1 "))]).as_deref(), Some("subject:CN=\\ #1\\ "));
    assert_eq!(of(&[(DnType::CommonName, text("#1\"<>;\\="))]).as_deref(), Some("subject:CN=\\#1\\\"\\<\\>\\;\\\\="));
    assert_eq!(of(&[(DnType::CommonName, text("Žofie"))]).as_deref(), Some("subject:CN=Žofie"));
    let named_by_number = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
    assert_eq!(of(&[(named_by_number, text("a"))]).as_deref(), Some("subject:1.2.840.113549.1.9.1=#0c0161"));
    assert_eq!(of(&[]), None);
}

#[test]
fn a_name_that_could_be_taken_for_another_is_none() {
    let by_uri = |name: &str| name_of(|params| params.subject_alt_names = vec![uri(name), dns("a.example")]);
    let longest = "u".repeat(256 - "uri:".len());
    assert_eq!(by_uri(&longest), Some(format!("uri:{longest}")));
    for name in [format!("{longest}u"), String::new(), "a\nb".to_owned(), "a\u{7f}".to_owned()] {
        assert_eq!(by_uri(&name), None, "{name:?}");
    }
    for name in ["a\nb", "a\0", "\u{85}"] {
        assert_eq!(name_of(|params| params.distinguished_name.push(DnType::CommonName, name)), None, "{name:?}");
    }
}

#[test]
fn alternative_names_that_cannot_be_read_or_come_twice_do_not_fall_back_to_the_subject() {
    let with = |contents: &[&[u8]]| {
        name_of(|params| {
            params.distinguished_name.push(DnType::CommonName, "somebody");
            let extension = |content: &&[u8]| CustomExtension::from_oid_content(&[2, 5, 29, 17], content.to_vec());
            params.custom_extensions = contents.iter().map(extension).collect();
        })
    };
    let good: &[u8] = b"\x30\x03\x86\x01u";
    assert_eq!(with(&[good]).as_deref(), Some("uri:u"));
    assert_eq!(with(&[b"\x30\x00"]).as_deref(), Some("subject:CN=somebody"));
    for contents in
        [vec![good, good], vec![b"\x30\x03\x86\x02u"], vec![b""], vec![b"\x31\x03\x86\x01u"], vec![b"\x30\x03\x86\x01\xff"]]
    {
        assert_eq!(with(&contents), None, "{contents:?}");
    }
}

#[test]
fn what_is_wrong_with_the_files_is_said_all_at_once_with_what_to_do() {
    let authority = Authority::new();
    let issued = authority.issue(|params| params.subject_alt_names = vec![dns("localhost")]);
    let certificate = authority.write("tls.pem", &issued.pem);
    let key = authority.write("tls.key", &issued.key_pem);
    let empty = authority.write("empty", "no PEM\n");
    let cut = authority.write("cut", &issued.key_pem.replace("-----END", "-----"));
    let encrypted =
        authority.write("encrypted", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let odd = authority.write("odd.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let odd_key = authority.write("odd.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let other = authority.write("other.key", &KeyPair::generate().expect("a key").serialize_pem());
    let missing = authority.folder.path().join("missing");
    let faults = lines(&missing, &empty, Some(&empty));
    assert_eq!(faults.len(), 3, "{faults:#?}");
    for (certificate, key, client_ca, said) in [
        (&missing, &key, None, ["--tls-cert", "missing: No such file"]),
        (&key, &key, None, ["tls.key: no certificate in it", "BEGIN CERTIFICATE"]),
        (&odd, &key, None, ["--tls-cert", "cannot be used"]),
        (&certificate, &certificate, None, ["no private key in it", "BEGIN PRIVATE KEY"]),
        (&certificate, &cut, None, ["--tls-key", "not PEM as it should be"]),
        (&certificate, &encrypted, None, ["the key is encrypted", "without a passphrase"]),
        (&certificate, &odd_key, None, ["--tls-key", "P-256"]),
        (&certificate, &other, None, ["other.key: does not belong to the first certificate in", "tls.pem"]),
        (&certificate, &key, Some(&empty), ["--client-ca", "no certificate in it"]),
        (&certificate, &key, Some(&odd), ["--client-ca", "certificate 1 in it cannot be used"]),
    ] {
        let faults = lines(certificate, key, client_ca.map(PathBuf::as_path));
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert!(said.iter().all(|said| faults[0].contains(said)), "{said:?}: {faults:#?}");
        let secret = issued.key_pem.lines().nth(1).expect("a line");
        assert!(!faults[0].contains(secret));
    }
}

#[test]
fn a_certificate_out_of_its_time_is_served_with_a_warning() {
    let authority = Authority::new();
    let read = |from, to| {
        let issued = authority.issue(|params| {
            params.subject_alt_names = vec![dns("localhost")];
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        });
        let (certificate, key) = (authority.write("tls.pem", &issued.pem), authority.write("tls.key", &issued.key_pem));
        let ca = authority.write("ca.pem", &issued.pem);
        Tls::read(&certificate, &key, [&*ca]).expect("served").warnings().to_vec()
    };
    assert_eq!(read(2000, 4000), [""; 0]);
    for (warnings, said) in [(read(2000, 2001), "days ago"), (read(3999, 4000), "not valid yet")] {
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains(said)), "{warnings:?}");
        assert!(warnings[0].starts_with("--tls-cert") && warnings[1].starts_with("--client-ca"), "{warnings:?}");
    }
}

proptest! {
    #[test]
    fn whatever_a_certificate_is_its_name_is_short_and_of_one_line(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut: prop::sample::Index) {
        thread_local! {
            static CERTIFICATE: Vec<u8> = Authority::new().issue(|params| {
                params.subject_alt_names = vec![dns("a.example"), uri("spiffe://b/a"), email("a@b.example")];
                params.distinguished_name.push(DnType::CommonName, "alice");
                params.distinguished_name.push(DnType::OrganizationName, "A, B");
            }).certificate.to_vec();
        }
        let mut der = CERTIFICATE.with(Clone::clone);
        for (at, byte) in changes {
            let at = at.index(der.len());
            der[at] = byte;
        }
        for der in [&der[..], &der[..cut.index(der.len())]] {
            if let Some(name) = named(&[CertificateDer::from(der)]) {
                prop_assert!(name.len() <= 256 && !name.contains(char::is_control), "{:?}", name);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_to_an_end(der: Vec<u8>) {
        prop_assert_eq!(named(&[CertificateDer::from(der)]), None);
    }
}
