//! Bytes and callers that must not get in: each is closed and counted, and the node goes on serving its peers.

use std::sync::Arc;
use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Authority;
use super::Node;
use super::PATIENCE;
use super::eventually;
use super::pair;
use crate::base::id::NodeId;
use crate::base::limits::ARRIVALS_MAX;
use crate::base::limits::GUEST_FRAME_BYTES_MAX;
use crate::base::limits::GUESTS_MAX;
use crate::base::redact::Redacted;
use crate::net::peer::Settings;
use crate::net::peer::count::Count;
use crate::net::peer::guest;
use crate::net::peer::guest::AskError;
use crate::net::peer::twins::Twin;
use crate::net::tls::PeerIdentity;
use crate::net::tls::PeerTls;
use crate::net::wire;
use crate::net::wire::Frame;
use crate::net::wire::Kind;
use crate::net::wire::Lane;
use crate::net::wire::decode::Decoder;
use crate::net::wire::hello::Hello;
use crate::net::wire::hello::Purpose;
use crate::net::wire::hello::Reason;
use crate::net::wire::hello::Refusal;
use crate::net::wire::hello::VERSIONS;
use crate::net::wire::hello::Versions;

/// A caller that believes anybody.
#[derive(Debug)]
struct Believes;

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn client(identity: Option<&PeerIdentity>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Believes));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = [&identity.certificate, &identity.authority]
                .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
            let key = PrivateKeyDer::from_pem_slice(identity.key.reveal().as_bytes()).unwrap();
            builder.with_client_auth_cert(chain.to_vec(), key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"ringfort-peer".to_vec()];
    config
}

async fn tls(node: &Node, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(node.peers.address()).await.unwrap();
    let name = ServerName::try_from("some.where").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// Says this and returns all that is said back until the end, which must come.
async fn say(node: &Node, identity: Option<&PeerIdentity>, bytes: &[u8]) -> Vec<u8> {
    let Ok(mut stream) = tls(node, client(identity)).await else { return Vec::new() };
    let _closed = stream.write_all(bytes).await;
    let _closed = stream.flush().await;
    heard(&mut stream).await
}

/// All until the end, however that comes.
async fn heard(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection is closed");
    answer
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    core::iter::from_fn(|| decoder.next(&mut bytes).unwrap()).collect()
}

fn refusal(bytes: &[u8]) -> Refusal {
    let frames = frames(bytes);
    assert_eq!(frames.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [Kind::Refusal]);
    Refusal::decode(&frames[0].body).unwrap()
}

fn hello(purpose: Purpose) -> Vec<u8> {
    hello_of(VERSIONS, purpose)
}

fn hello_of(versions: Versions, purpose: Purpose) -> Vec<u8> {
    wire::encode(Kind::Hello, 0, &Hello { versions, purpose, life: None }.encode()).unwrap()
}

fn frame(kind: Kind, body: &[u8]) -> Vec<u8> {
    wire::encode(kind, 1, body).unwrap()
}

/// It was counted, the peers did not notice.
async fn unharmed(one: &Node, two: &Node, count: Count, times: u64) {
    eventually(&format!("{times} × {count:?}"), || one.count(count) == times).await;
    assert_eq!(two.ask(one, Lane::Requests, b"ab").await, b"ba");
    assert_eq!(two.count(Count::Connected), 4, "no connection of a peer ended");
    assert!(one.inbox.messages.lock().unwrap().is_empty(), "nothing was handed on");
}

/// Two nodes that know each other and a third certificate, of a member that only the first one knows.
async fn visited() -> (Node, Node, Authority, PeerIdentity) {
    let authority = Authority::new();
    let (one, two) = (Node::start(&authority.node(1)), Node::start(&authority.node(2)));
    one.know(&two);
    two.know(&one);
    one.all_up(&two).await;
    two.all_up(&one).await;
    let third = authority.node(3);
    assert!(one.peers.know(third.node, Vec::new()));
    (one, two, authority, third)
}

#[tokio::test]
async fn plain_bytes_end_in_the_handshake() {
    let (one, two) = pair().await;
    for (times, bytes) in [(1, b"GET / HTTP/1.1\r\n\r\n".as_slice()), (2, &[0; 64]), (3, &hello(Purpose::Join))] {
        let mut tcp = TcpStream::connect(one.peers.address()).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        heard(&mut tcp).await;
        unharmed(&one, &two, Count::HandshakeFailed, times).await;
    }
    // TLS, but meant for somebody else.
    let mut config = client(None);
    config.alpn_protocols.clear();
    let mut stream = tls(&one, config).await.unwrap();
    heard(&mut stream).await;
    unharmed(&one, &two, Count::HandshakeFailed, 4).await;
    let mut config = client(None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    assert!(tls(&one, config).await.is_err());
    unharmed(&one, &two, Count::HandshakeFailed, 5).await;
}

#[tokio::test]
async fn certificates_that_do_not_hold_end_in_the_handshake() {
    let (one, two, authority, third) = visited().await;
    let mut other_cluster = Authority::new();
    let foreign = other_cluster.node(3);
    other_cluster.key = KeyPair::from_pem(&authority.key.serialize_pem()).unwrap();
    other_cluster.cluster.0 += 1;
    let expired = authority.node_with(3, |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let to_come = authority.node_with(3, |params| params.not_before = rcgen::date_time_ymd(2200, 1, 1));
    let server_use = authority.node_with(3, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let device_names = authority.node_with(3, |params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("n3.example".try_into().unwrap())];
    });
    let two_names = authority.node_with(3, |params| {
        params.subject_alt_names.push(rcgen::SanType::DnsName("n3.example".try_into().unwrap()));
    });
    let itself = PeerIdentity {
        certificate: authority.pem(),
        key: Redacted::new(authority.key.serialize_pem()),
        ..third.clone()
    };
    let all = [foreign, other_cluster.node(3), expired, to_come, server_use, device_names, two_names, itself];
    for (number, identity) in (1..).zip(&all) {
        let words = [hello(Purpose::Lane(Lane::Requests)), frame(Kind::Question, b"ab")].concat();
        assert_eq!(say(&one, Some(identity), &words).await, b"", "{number}");
        unharmed(&one, &two, Count::BadCertificate, number).await;
    }
    let words = [hello(Purpose::Lane(Lane::Requests)), frame(Kind::Question, b"ab")].concat();
    let mut stream = tls(&one, client(Some(&third))).await.unwrap();
    stream.write_all(&words).await.unwrap();
    let mut answer = [0; 32];
    assert!(stream.read(&mut answer).await.unwrap() > 0, "the same words with a certificate that holds");
}

#[tokio::test]
async fn who_dials_a_node_takes_no_other_for_it() {
    let (one, two, authority, _third) = visited().await;
    // Somebody who stole the third node's certificate sits where the fourth one is looked for.
    assert!(two.peers.know(NodeId(4), vec![one.place()]));
    eventually("the wrong node is noticed", || two.count(Count::WrongNode) > 0).await;
    assert_eq!(two.peers.links().len(), 2);
    assert!(two.peers.links()[1].lanes.iter().all(|lane| lane.address.is_none()));
    assert_eq!(one.count(Count::SameNode), 0);
    // What devices are shown, in the place of a peer.
    let server = authority.node_with(5, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let device_port = Node::start(&server);
    assert!(two.peers.know(NodeId(5), vec![device_port.place()]));
    eventually("it is not taken", || {
        two.peers.links()[2].lanes[0].why.as_ref().is_some_and(|why| why.text.contains("certificate"))
    })
    .await;
    two.peers.forget(NodeId(4));
    two.peers.forget(NodeId(5));
    unharmed(&one, &two, Count::BadCertificate, 0).await;
}

#[test]
fn a_node_does_not_start_with_a_certificate_of_another() {
    let authority = Authority::new();
    let wrong = PeerIdentity { node: NodeId(2), ..authority.node(1) };
    assert!(PeerTls::new(&wrong).is_err());
}

#[tokio::test]
async fn without_a_certificate_there_is_nothing_but_to_join() {
    let (one, two, ..) = visited().await;
    for (times, lane) in (1..).zip(Lane::ALL) {
        let words = [hello(Purpose::Lane(lane)), frame(Kind::Question, b"ab")].concat();
        assert_eq!(refusal(&say(&one, None, &words).await).reason, Reason::Purpose);
        unharmed(&one, &two, Count::NotAuthenticated, times).await;
    }
    // As a guest, but with other words than a question.
    for (times, kind) in (5..).zip([Kind::Message, Kind::Ping, Kind::Answer, Kind::Hello]) {
        let said = frames(&say(&one, None, &[hello(Purpose::Join), frame(kind, b"ab")].concat()).await);
        assert_eq!(said.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [Kind::Hello]);
        unharmed(&one, &two, Count::NotAuthenticated, times).await;
    }
    assert_eq!(one.count(Count::GuestAnswered), 0);
}

#[tokio::test]
async fn anything_before_the_first_words_ends_the_connection() {
    let (one, two, _, third) = visited().await;
    let kinds = [Kind::Refusal, Kind::Message, Kind::Question, Kind::Answer, Kind::Unanswered, Kind::Ping, Kind::Pong];
    let who = [None, Some(&third)];
    for (times, (kind, who)) in (1..).zip(kinds.iter().flat_map(|kind| who.map(|who| (*kind, who)))) {
        let words = [frame(kind, b"ab"), hello(Purpose::Lane(Lane::Control)), frame(Kind::Question, b"ab")].concat();
        assert_eq!(say(&one, who, &words).await, b"", "{kind:?}");
        unharmed(&one, &two, Count::BeforeHello, times).await;
    }
}

#[tokio::test]
async fn spoilt_frames_end_the_connection_before_and_after_the_first_words() {
    let (one, two, _, third) = visited().await;
    let good = frame(Kind::Message, b"body");
    let mut spoilt = good.clone();
    *spoilt.last_mut().unwrap() ^= 1;
    let too_long = u32::try_from(GUEST_FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
    let after = hello(Purpose::Lane(Lane::Requests));
    let cases: [(Count, &[u8]); 6] = [
        (Count::FrameTooLong, &[0xff; 4]),
        (Count::FrameSpoilt, &[0; 4]),
        (Count::FrameUnknown, &[9, 0, 0, 0, 1, 99, 0, 0, 0, 0, 0, 0, 0]),
        (Count::FrameSpoilt, &spoilt),
        (Count::FrameSpoilt, &[3, 0, 0, 0, 1, 3, 0]),
        (Count::FrameTooLong, &0x0020_0001_u32.to_le_bytes()),
    ];
    for (count, bytes) in cases {
        let before = one.count(count);
        say(&one, None, bytes).await;
        unharmed(&one, &two, count, before + 1).await;
        say(&one, Some(&third), bytes).await;
        unharmed(&one, &two, count, before + 2).await;
        say(&one, None, &[&hello(Purpose::Join), bytes].concat()).await;
        unharmed(&one, &two, count, before + 3).await;
        say(&one, Some(&third), &[&after, bytes].concat()).await;
        unharmed(&one, &two, count, before + 4).await;
    }
    // Longer than a stranger's, for who is known.
    let before = one.count(Count::FrameTooLong);
    say(&one, None, &too_long).await;
    say(&one, Some(&third), &too_long).await;
    unharmed(&one, &two, Count::FrameTooLong, before + 2).await;
    // A frame that breaks off.
    for len in [2, 5, 9, good.len() - 1] {
        let before = one.count(Count::FrameTruncated);
        let mut stream = tls(&one, client(Some(&third))).await.unwrap();
        stream.write_all(&after).await.unwrap();
        stream.write_all(&good[..len]).await.unwrap();
        stream.shutdown().await.unwrap();
        heard(&mut stream).await;
        unharmed(&one, &two, Count::FrameTruncated, before + 1).await;
    }
    // Parts, of somebody who has not said who it is, or who is no node.
    let part = [&[9, 0, 0, 0, 1, 9], [0; 7].as_slice()].concat();
    say(&one, None, &part).await;
    say(&one, Some(&third), &part).await;
    say(&one, None, &[hello(Purpose::Join), part].concat()).await;
    unharmed(&one, &two, Count::FrameUnexpected, 3).await;
    // Whole frames that have no business on a lane.
    for (times, kind) in (4..).zip([Kind::Hello, Kind::Refusal, Kind::Answer, Kind::Unanswered, Kind::Pong]) {
        say(&one, Some(&third), &[after.as_slice(), &frame(kind, b"ab")].concat()).await;
        unharmed(&one, &two, Count::FrameUnexpected, times).await;
    }
}

#[tokio::test]
async fn other_versions_are_refused_with_the_versions_named() {
    let authority = Authority::new();
    let versions = |lowest, highest| Versions { lowest, highest, features: 1, required: 0 };
    let bind = || Settings::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let one = Node::start_with(&authority.node(1), Settings { versions: versions(4, 5), ..bind() });
    let two = Node::start_with(&authority.node(2), Settings { versions: versions(5, 6), ..bind() });
    one.know(&two);
    two.know(&one);
    two.all_up(&one).await;
    let third = authority.node(3);
    assert!(one.peers.know(third.node, Vec::new()));
    let unknown_feature = Versions { features: 3, required: 2, ..versions(4, 5) };
    let purposes = [Purpose::Lane(Lane::Gossip), Purpose::Join, Purpose::Other];
    let others = [versions(2, 3), versions(6, 7), versions(0, 0), unknown_feature];
    let cases = others.into_iter().flat_map(|other| purposes.map(|purpose| (other, purpose)));
    for (times, (other, purpose)) in (1..).zip(cases) {
        let refusal = refusal(&say(&one, Some(&third), &hello_of(other, purpose)).await);
        assert_eq!((refusal.reason, refusal.versions.lowest, refusal.versions.highest), (Reason::Versions, 4, 5));
        assert!(refusal.text.contains("4 to 5") || other.required != 0, "{}", refusal.text);
        unharmed(&one, &two, Count::VersionRefused, times).await;
    }
    // A layout of frames that is not known either.
    let mut later = hello(Purpose::Join);
    later[4] = 9;
    assert_eq!(refusal(&say(&one, Some(&third), &later).await).reason, Reason::Versions);
    unharmed(&one, &two, Count::FrameUnknown, 1).await;
    // Who is refused says why.
    let late = Node::start_with(&authority.node(3), Settings { versions: versions(7, 8), ..bind() });
    late.know(&one);
    eventually("the reason is there", || {
        late.peers.links()[0].lanes[0].why.as_ref().is_some_and(|why| why.text.contains("4 to 5"))
    })
    .await;
}

#[tokio::test]
async fn a_twin_is_refused_counted_and_told_of() {
    let (one, two, authority, _) = visited().await;
    let twin = authority.node(1);
    let words = [hello(Purpose::Lane(Lane::Gossip)), frame(Kind::Message, b"ab")].concat();
    assert_eq!(refusal(&say(&one, Some(&twin), &words).await).reason, Reason::SameNode);
    unharmed(&one, &two, Count::SameNode, 1).await;
    assert_eq!(*one.inbox.twins.lock().unwrap(), [Twin::Called { from: [127, 0, 0, 1].into() }]);
}

#[tokio::test]
async fn a_newer_connection_of_a_lane_ends_the_older() {
    let (one, two, _, third) = visited().await;
    let mut older = tls(&one, client(Some(&third))).await.unwrap();
    older.write_all(&hello(Purpose::Lane(Lane::Bulk))).await.unwrap();
    let inbound = |lane: usize| one.peers.links()[1].lanes[lane].inbound;
    eventually("the older is let in", || inbound(3)).await;
    let mut other_lane = tls(&one, client(Some(&third))).await.unwrap();
    other_lane.write_all(&hello(Purpose::Lane(Lane::Control))).await.unwrap();
    eventually("the other lane is let in", || inbound(1)).await;
    let mut newer = tls(&one, client(Some(&third))).await.unwrap();
    newer.write_all(&hello(Purpose::Lane(Lane::Bulk))).await.unwrap();
    assert_eq!(frames(&heard(&mut older).await).len(), 1, "its Hello, and its end");
    for stream in [&mut newer, &mut other_lane] {
        stream.write_all(&frame(Kind::Question, b"ab")).await.unwrap();
        let (mut answer, whole) = (Vec::new(), hello(Purpose::Join).len() + frame(Kind::Answer, b"ba").len());
        while answer.len() < whole {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        assert_eq!(frames(&answer)[1], Frame { kind: Kind::Answer, id: 1, body: b"ba".to_vec() });
    }
    drop((newer, other_lane));
    eventually("both are gone", || !inbound(1) && !inbound(3)).await;
    unharmed(&one, &two, Count::FellSilent, 0).await;
}

#[tokio::test]
async fn a_member_that_is_not_known_here_is_refused() {
    let (one, two, authority, _) = visited().await;
    let words = [hello(Purpose::Lane(Lane::Gossip)), frame(Kind::Message, b"ab")].concat();
    let refused = refusal(&say(&one, Some(&authority.node(9)), &words).await);
    assert_eq!(refused.reason, Reason::NotAdmitted);
    unharmed(&one, &two, Count::NotAdmitted, 1).await;
}

#[tokio::test]
async fn a_member_of_which_nobody_heard_here_may_bring_the_news_of_itself_and_nothing_else() {
    let (one, two, authority, _) = visited().await;
    let node = Some(&authority.node(100));
    let answers =
        frames(&say(&one, node, &[hello(Purpose::Lane(Lane::Control)), frame(Kind::Question, b"ab")].concat()).await)
            .into_iter()
            .map(|frame| frame.body)
            .collect::<Vec<_>>();
    assert_eq!(answers.last().map(Vec::as_slice), Some(b"ba".as_slice()));
    for lane in [Lane::Gossip, Lane::Requests, Lane::Bulk] {
        let words = [hello(Purpose::Lane(lane)), frame(Kind::Question, b"ab")].concat();
        assert_eq!(refusal(&say(&one, node, &words).await).reason, Reason::NotAdmitted);
    }
    unharmed(&one, &two, Count::NotAdmitted, 3).await;
}

#[tokio::test]
async fn a_guest_asks_one_question() {
    let (one, two, authority, _) = visited().await;
    let place = one.place();
    assert_eq!(guest::ask(&place, authority.sha256(), b"n4", PATIENCE).await.unwrap(), b"welcome n4");
    // Another authority than the invite's: the question does not leave.
    let strange = guest::ask(&place, Authority::new().sha256(), b"n4", PATIENCE).await;
    assert!(matches!(strange, Err(AskError::Unreachable { .. })), "{strange:?}");
    let words = [hello(Purpose::Join), frame(Kind::Question, b"n5"), frame(Kind::Question, b"n6")].concat();
    let said = frames(&say(&one, None, &words).await);
    let bodies: Vec<&[u8]> = said[1..].iter().map(|frame| frame.body.as_slice()).collect();
    assert_eq!(bodies, [b"welcome n5"]);
    unharmed(&one, &two, Count::GuestAnswered, 2).await;
    let long = guest::ask(&place, authority.sha256(), &vec![0; GUEST_FRAME_BYTES_MAX], PATIENCE).await;
    assert!(matches!(long, Err(AskError::Unreachable { .. })), "{long:?}");
    unharmed(&one, &two, Count::FrameTooLong, 1).await;
}

#[tokio::test]
async fn only_so_many_guests_are_answered_at_once() {
    let (one, two, authority, _) = visited().await;
    let (place, sha256) = (one.place(), authority.sha256());
    let ask = |body: &'static [u8]| {
        let place = place.clone();
        async move { guest::ask(&place, sha256, body, PATIENCE).await }
    };
    let guests = futures_util::future::join_all((0..GUESTS_MAX).map(|_| ask(b"wait")));
    let late = async {
        one.asked(GUESTS_MAX).await;
        assert!(matches!(ask(b"late").await, Err(AskError::Busy { .. })));
        unharmed(&one, &two, Count::GuestBusy, 1).await;
        one.inbox.let_go.add_permits(GUESTS_MAX);
    };
    let (answers, ()) = tokio::join!(guests, late);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(ask(b"n4").await.unwrap(), b"welcome n4");
}

#[tokio::test]
async fn callers_that_say_nothing_make_room_and_end() {
    let authority = Authority::new();
    let mut settings = Settings::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    settings.arrival_timeout = Duration::from_secs(3);
    let one = Node::start_with(&authority.node(1), settings);
    let mut silent = Vec::new();
    for _ in 0..ARRIVALS_MAX + 10 {
        silent.push(TcpStream::connect(one.peers.address()).await.unwrap());
    }
    let mut shaken = tls(&one, client(None)).await.unwrap();
    let two = Node::start(&authority.node(2));
    one.know(&two);
    two.know(&one);
    two.all_up(&one).await;
    assert!(one.count(Count::CrowdedOut) >= 11, "{}", one.count(Count::CrowdedOut));
    for tcp in silent.iter_mut().take(10) {
        assert_eq!(tcp.read(&mut [0; 8]).await.unwrap_or(0), 0, "the oldest were closed");
    }
    heard(&mut shaken).await;
    for tcp in &mut silent {
        heard(tcp).await;
    }
    assert!(one.count(Count::ArrivalTimedOut) > 0);
    assert_eq!(two.ask(&one, Lane::Requests, b"ab").await, b"ba");
}
