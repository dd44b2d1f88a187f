//! A certificate that signs itself.

use std::fs;
use std::io;
use std::path::Path;

/// The names a server of these tests is certified for.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// Writes a certificate and its key into `folder`, as `redis-server` reads them; answers the certificate, which the
/// client is to trust.
pub(crate) fn certify(folder: &Path) -> io::Result<Vec<u8>> {
    let certified =
        rcgen::generate_simple_self_signed(NAMES.map(str::to_owned)).map_err(io::Error::other)?;
    fs::write(folder.join("cert.pem"), certified.cert.pem())?;
    fs::write(
        folder.join("key.pem"),
        certified.signing_key.serialize_pem(),
    )?;
    Ok(certified.cert.der().to_vec())
}

/// The lines of a configuration that has these files used on `port`.
pub(crate) fn lines(folder: &Path, port: u16) -> Vec<String> {
    let folder = folder.display();
    vec![
        format!("tls-port {port}"),
        format!("tls-cert-file {folder}/cert.pem"),
        format!("tls-key-file {folder}/key.pem"),
        format!("tls-ca-cert-file {folder}/cert.pem"),
        "tls-auth-clients no".to_owned(),
    ]
}
