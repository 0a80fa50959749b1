//! The tests can see: a page that is wrong in every way is found wrong in every way, and a window closes with its test.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::browser::driver::Browser;
use crate::browser::inspect::Inspector;
use crate::browser::inspect::bad_page;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_wrong_in_every_way_is_found_wrong_in_every_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |_request| {
                let answer = Response::builder()
                    .header("content-type", "text/html")
                    .header("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'");
                Ok::<_, Infallible>(answer.body(Full::new(Bytes::from(bad_page().0))).unwrap())
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let browser = Browser::start().await;
    let mut inspector = Inspector::new();
    inspector.page(&browser, "bad", &url).await;
    for expected in bad_page().1 {
        for view in ["bad-light-390", "bad-dark-1440"] {
            let found = inspector.wrong().iter().any(|line| line.starts_with(view) && line.contains(expected));
            assert!(found, "{view}: {expected} was not noticed in {:#?}", inspector.wrong());
        }
    }
}
