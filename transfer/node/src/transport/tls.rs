//! libp2p's TLS, with the fastest cipher of this machine offered first.
//!
//! libp2p-tls offers ChaCha20 before AES and takes no other order; a server follows its client. So the side that dials is set up
//! here, out of the parts that libp2p-tls makes public. Certificates are made, parsed and checked by libp2p-tls.

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

/// With instructions for AES: here, where it has those on vectors, four times as fast as ChaCha20.
const AES_FIRST: [SupportedCipherSuite; 3] =
    [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
/// Without, AES is several times as slow.
const AES_LAST: [SupportedCipherSuite; 3] =
    [TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384];

/// The upgrade `/tls/1.0.0`.
#[derive(Clone)]
pub(crate) struct Tls {
    /// For connections of others.
    accept: tls::Config,
    /// For our own.
    dial: Arc<ClientConfig>,
}

impl Tls {
    /// As it is negotiated.
    pub(crate) const NAME: &str = "/tls/1.0.0";

    /// # Errors
    /// [`NodeError::Transport`], if no certificate can be made.
    pub(crate) fn new(key: &Keypair) -> Result<Self, NodeError> {
        let failed = |error| NodeError::Transport(SecurityError::Tls(error));
        let accept = tls::Config::new(key).map_err(failed)?;
        let libp2p = tls::make_client_config(key, None).map_err(failed)?;
        let cipher_suites = if has_aes() { AES_FIRST } else { AES_LAST }.to_vec();
        let provider = CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() };
        let mut dial = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("all of these suites are of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_client_cert_resolver(libp2p.client_auth_cert_resolver.clone());
        dial.alpn_protocols.clone_from(&libp2p.alpn_protocols);
        Ok(Self { accept, dial: Arc::new(dial) })
    }
}

/// Whether this processor has instructions for AES and for the multiplication of GCM.
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
            // An address is not named in the handshake, and libp2p names nothing there.
            let nobody = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
            let stream =
                TlsConnector::from(self.dial).connect(nobody, socket).await.map_err(UpgradeError::ClientUpgrade)?;
            let [certificate] = stream.get_ref().1.peer_certificates().unwrap_or_default() else {
                let error = std::io::Error::other("the peer has not shown exactly one certificate");
                return Err(UpgradeError::ClientUpgrade(error));
            };
            let peer = certificate::parse(certificate)?.peer_id();
            Ok((peer, stream.into()))
        }
        .boxed()
    }
}

/// Checks what libp2p demands of a server: one certificate, signed by itself, in which the peer's key vouches for that of the
/// certificate. That it is the peer we want is checked by the Swarm, which gets the peer's id from the certificate.
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
        Err(rustls::Error::General("libp2p permits no TLS before 1.3".to_owned()))
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

    /// As libp2p-tls has them, the most wanted first.
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

    /// The two ends of a connection.
    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialling = TcpStream::connect(listener.local_addr().unwrap());
        let (dialled, accepted) = tokio::join!(dialling, listener.accept());
        (dialled.unwrap(), accepted.unwrap().0)
    }

    /// Connects two upgrades; who each of them sees, and the cipher.
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
    async fn both_know_each_other_and_the_fastest_cipher_is_used_also_with_plain_libp2p() {
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
            let nobody = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
            Verifier.verify_server_cert(certificate, others, &nobody, &[], UnixTime::now()).is_ok()
        };
        assert!(verify(&good, &[]));
        assert!(!verify(&good, std::slice::from_ref(&good)), "a chain");
        // In the signature over the certificate, at its end; and in the peer's key, within.
        for position in [good.len() - 1, good.len() / 2] {
            let mut bytes = good.to_vec();
            bytes[position] ^= 1;
            assert!(!verify(&CertificateDer::from(bytes), &[]), "changed at {position}");
        }
    }
}
