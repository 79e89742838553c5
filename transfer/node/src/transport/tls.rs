//! The TLS upgrade of libp2p, changed so that it offers the fastest cipher of this machine first.
//!
//! The order of the dialling side decides, and libp2p-tls always offers ChaCha20 before AES. So this module sets up the
//! dialling side itself. It uses the public parts of libp2p-tls to make, parse and check certificates.

use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite, FutureExt as _};
use futures_rustls::TlsConnector;
use libp2p::PeerId;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::tls::{self, TlsStream, UpgradeError, certificate};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedCipherSuite};

use crate::error::{NodeError, SecurityError};

/// The order of ciphers for processors with AES instructions. With vector AES instructions, AES had four times the
/// speed of ChaCha20 in a measurement.
const AES_FIRST: [SupportedCipherSuite; 3] =
    [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
/// The order of ciphers for processors without AES instructions, on which AES is several times slower than ChaCha20.
const AES_LAST: [SupportedCipherSuite; 3] =
    [TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384];

/// The libp2p upgrade `/tls/1.0.0`, which encrypts a TCP connection.
#[derive(Clone)]
pub(crate) struct Tls {
    /// The TLS configuration for accepted connections.
    accept: tls::Config,
    /// The TLS configuration for dialled connections.
    dial: Arc<ClientConfig>,
}

impl Tls {
    /// The protocol name for the negotiation.
    pub(crate) const NAME: &str = "/tls/1.0.0";

    /// Creates the upgrade, with a certificate for `key`.
    ///
    /// # Errors
    /// [`NodeError::Transport`] if no certificate can be made.
    pub(crate) fn new(key: &Keypair) -> Result<Self, NodeError> {
        let failed = |error| NodeError::Transport(SecurityError::Tls(error));
        let accept = tls::Config::new(key).map_err(failed)?;
        let libp2p = tls::make_client_config(key, None).map_err(failed)?;
        let cipher_suites = if has_aes() { AES_FIRST } else { AES_LAST }.to_vec();
        let provider = CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() };
        let mut dial = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("all of these cipher suites belong to TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_client_cert_resolver(libp2p.client_auth_cert_resolver.clone());
        dial.alpn_protocols.clone_from(&libp2p.alpn_protocols);
        Ok(Self { accept, dial: Arc::new(dial) })
    }
}

/// Returns whether this processor has instructions for AES and for the multiplication that GCM uses.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

impl UpgradeInfo for Tls {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(Self::NAME)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Tls {
    type Output = (PeerId, TlsStream<C>);
    type Error = UpgradeError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.accept.upgrade_inbound(socket, info)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Tls {
    type Output = (PeerId, TlsStream<C>);
    type Error = UpgradeError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        async move {
            // libp2p uses no server name. An IP address is passed here because it is not sent in the handshake.
            let no_name = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
            let stream =
                TlsConnector::from(self.dial).connect(no_name, socket).await.map_err(UpgradeError::ClientUpgrade)?;
            let [certificate] = stream.get_ref().1.peer_certificates().unwrap_or_default() else {
                let error = std::io::Error::other("the peer did not present exactly one certificate");
                return Err(UpgradeError::ClientUpgrade(error));
            };
            let peer = certificate::parse(certificate)?.peer_id();
            Ok((peer, stream.into()))
        }
        .boxed()
    }
}

/// Verifies the certificate of a peer by the rules of libp2p. A peer must send exactly one self-signed certificate. The
/// certificate contains the public key of the peer, and a signature by this key over the key of the certificate. The
/// peer id is not checked here, because the Swarm compares it with the dialled peer id.
#[derive(Debug)]
struct Verifier;

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !others.is_empty() {
            return Err(rustls::Error::General("libp2p permits exactly one certificate".to_owned()));
        }
        certificate::parse(certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("libp2p requires TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        certificate::parse(certificate)?.verify_signature(signed.scheme, message, signed.signature())?;
        Ok(HandshakeSignatureValid::assertion())
    }

    /// Returns the signature schemes of libp2p-tls, in order of preference.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA256,
        ]
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::compat::TokioAsyncReadCompatExt as _;

    use super::*;

    /// Returns the dialling end and the accepting end of a TCP connection.
    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialling = TcpStream::connect(listener.local_addr().unwrap());
        let (dialled, accepted) = tokio::join!(dialling, listener.accept());
        (dialled.unwrap(), accepted.unwrap().0)
    }

    /// Runs the two upgrades on the two ends of a connection. Returns the peer id that the dialler sees, the peer id
    /// that the accepter sees, and the cipher.
    async fn meet<D, A>(dialler: D, accepter: A) -> (PeerId, PeerId, rustls::CipherSuite)
    where
        D: OutboundConnectionUpgrade<Socket, Output = (PeerId, TlsStream<Socket>), Info = &'static str>,
        A: InboundConnectionUpgrade<Socket, Output = (PeerId, TlsStream<Socket>), Info = &'static str>,
        D::Error: std::fmt::Debug,
        A::Error: std::fmt::Debug,
    {
        let (dialled, accepted) = sockets().await;
        let dialling = dialler.upgrade_outbound(dialled.compat(), Tls::NAME);
        let (there, here) = tokio::join!(dialling, accepter.upgrade_inbound(accepted.compat(), Tls::NAME));
        let ((seen, stream), (seen_back, _)) = (there.unwrap(), here.unwrap());
        (seen, seen_back, stream.get_ref().1.negotiated_cipher_suite().unwrap().suite())
    }

    type Socket = tokio_util::compat::Compat<TcpStream>;

    #[tokio::test]
    async fn both_ends_know_the_peer_id_and_the_fastest_cipher_is_used() {
        let (ours, theirs) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let (us, them) = (ours.public().to_peer_id(), theirs.public().to_peer_id());
        let fastest = if has_aes() { AES_FIRST } else { AES_LAST }[0].suite();
        let dial = || Tls::new(&ours).unwrap();
        assert_eq!(meet(dial(), Tls::new(&theirs).unwrap()).await, (them, us, fastest));
        assert_eq!(meet(dial(), tls::Config::new(&theirs).unwrap()).await, (them, us, fastest));
        let (seen, seen_back, _) = meet(tls::Config::new(&theirs).unwrap(), dial()).await;
        assert_eq!((seen, seen_back), (us, them));
    }

    #[test]
    fn a_certificate_that_libp2p_would_refuse_is_refused() {
        let (good, _) = certificate::generate(&Keypair::generate_ed25519()).unwrap();
        let verify = |certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]| {
            let no_name = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
            Verifier.verify_server_cert(certificate, others, &no_name, &[], UnixTime::now()).is_ok()
        };
        assert!(verify(&good, &[]));
        assert!(!verify(&good, std::slice::from_ref(&good)), "a chain of certificates");
        // Each step changes one byte: the last byte, in the signature of the certificate, or a byte in the middle, in
        // the peer's key.
        for position in [good.len() - 1, good.len() / 2] {
            let mut bytes = good.to_vec();
            bytes[position] ^= 1;
            assert!(!verify(&CertificateDer::from(bytes), &[]), "changed at {position}");
        }
    }
}
