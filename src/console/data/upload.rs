//! `/data/{bucket}/import`: a file from a form without script (`multipart/form-data`, RFC 7578), handed to the import
//! piece by piece as it comes in. Nothing but the small fields before it is ever held.

use std::io;

use axum::body::Bytes;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use tokio::sync::mpsc;

use crate::console::data;
use crate::console::data::about;
use crate::console::data::about::Said;
use crate::console::page::Answer;
use crate::console::page::Visit;
use crate::console::show;
use crate::front::body;
use crate::front::host;
use crate::front::problem::Problem;
use crate::node::Node;
use crate::node::import::BodyReader;
use crate::node::import::Format;
use crate::node::import::ImportOptions;
use crate::node::vnode::ExistingRow;
use crate::node::worker;

/// Bytes of a part's head, and of a field before the file.
const PART_BYTES_MAX: usize = 4 * 1024;
/// Letters of a boundary (RFC 2046 §5.1.1).
const BOUNDARY_LETTERS_MAX: usize = 70;
/// Pieces of the file waiting for the import.
const PIECES_AHEAD: usize = 4;

type Pieces = mpsc::Receiver<Result<Bytes, io::Error>>;

/// `POST /data/{bucket}/import`.
pub async fn import(State(node): State<Node>, visit: Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let bucket = data::bucket_of(&parts.uri)?;
    node.bucket_view(&bucket).await?;
    let origin = host::origin(&node, &parts);
    let draw = |status, said| about::draw(&node, &visit, status, &bucket, &origin, said);
    let refuse = |status, wrong: String| draw(status, Said { wrong_import: Some(wrong), ..Said::default() });
    let mut upload = Upload::begin(&parts.headers, body::stream(body))?;
    let wishes = upload.fields().await?;
    let options = match wishes.options() {
        Ok(options) => options,
        Err(wrong) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, wrong.to_owned()),
    };
    match node.import(&visit.caller, &bucket, options, BodyReader::new(upload.file())).await {
        Ok(report) => draw(StatusCode::OK, Said { report: Some(report), ..Said::default() }),
        Err(error) => {
            let sentence = show::sentence(&error.to_string());
            refuse(Problem::from(error).status, sentence)
        }
    }
}

/// What the form says before its file begins.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wishes {
    key: String,
    format: String,
    file_name: String,
}

impl Wishes {
    fn options(&self) -> Result<ImportOptions, &'static str> {
        if self.file_name.is_empty() {
            return Err("Choose a file first. Nothing was changed.");
        }
        let ending = self.file_name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        let format = match (self.format.as_str(), ending.as_str()) {
            ("csv", _) | ("", "csv") => Format::Csv,
            ("ndjson", _) | ("", "ndjson" | "jsonl") => Format::Ndjson,
            _ => return Err("The file's name does not say whether it is CSV or NDJSON: choose. Nothing was changed."),
        };
        let key = Some(self.key.trim().to_owned()).filter(|key| !key.is_empty());
        Ok(ImportOptions { format, key, existing: ExistingRow::Replace })
    }
}

/// A form with a file, as it comes in.
struct Upload {
    pieces: Pieces,
    /// Came in and is not yet used.
    ready: Vec<u8>,
    /// What ends a part: a line end, two dashes and the boundary.
    end: Vec<u8>,
}

impl Upload {
    fn begin(headers: &HeaderMap, pieces: Pieces) -> Result<Self, Problem> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = boundary(content_type).ok_or_else(|| {
            let detail = "an upload is sent as multipart/form-data with a boundary; nothing was changed";
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_an_upload", detail)
        })?;
        // The first boundary has no line before it; with one all are alike.
        Ok(Self { pieces, ready: b"\r\n".to_vec(), end: format!("\r\n--{boundary}").into_bytes() })
    }

    /// Reads the fields up to the file's first byte.
    async fn fields(&mut self) -> Result<Wishes, Problem> {
        let mut wishes = Wishes::default();
        let end = self.end.clone();
        self.take_until(&end).await?;
        loop {
            let head = self.take_until(b"\r\n\r\n").await?;
            if head.starts_with(b"--") {
                return Ok(wishes);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let name = parameter(&head, "name").unwrap_or_default();
            if name == "file" {
                wishes.file_name = parameter(&head, "filename").unwrap_or_default().to_owned();
                return Ok(wishes);
            }
            let value = String::from_utf8_lossy(&self.take_until(&end).await?).into_owned();
            match name {
                "key" => wishes.key = value,
                "format" => wishes.format = value,
                _ => {}
            }
        }
    }

    /// What comes before `mark`, which is taken too.
    async fn take_until(&mut self, mark: &[u8]) -> Result<Vec<u8>, Problem> {
        loop {
            if let Some(at) = find(&self.ready, mark) {
                let rest = self.ready.split_off(at + mark.len());
                let mut taken = std::mem::replace(&mut self.ready, rest);
                taken.truncate(at);
                return Ok(taken);
            }
            // The form's end has no blank line behind it.
            if mark == b"\r\n\r\n" && self.ready.starts_with(b"--") {
                return Ok(std::mem::take(&mut self.ready));
            }
            if self.ready.len() > PART_BYTES_MAX {
                return Err(Problem::bad_request(
                    "bad_upload",
                    "a field of the upload is too long; nothing was changed",
                ));
            }
            match self.pieces.recv().await {
                Some(Ok(piece)) => self.ready.extend_from_slice(&piece),
                Some(Err(error)) => {
                    return Err(Problem::bad_request("body_broken", format!("{error}; nothing was changed")));
                }
                None => {
                    return Err(Problem::bad_request("bad_upload", "the upload ends too early; nothing was changed"));
                }
            }
        }
    }

    /// The file's bytes from here on.
    fn file(mut self) -> Pieces {
        let (to, pieces) = mpsc::channel(PIECES_AHEAD);
        worker::feed("import-upload", to.clone(), async move {
            loop {
                let found = find(&self.ready, &self.end);
                // The last bytes may be the beginning of the end.
                let sure = found.unwrap_or_else(|| (self.ready.len() + 1).saturating_sub(self.end.len()));
                let rest = self.ready.split_off(sure);
                let piece = std::mem::replace(&mut self.ready, rest);
                if !piece.is_empty() && to.send(Ok(piece.into())).await.is_err() || found.is_some() {
                    return;
                }
                match self.pieces.recv().await {
                    Some(Ok(piece)) => self.ready.extend_from_slice(&piece),
                    broken => {
                        let early = || io::Error::new(io::ErrorKind::UnexpectedEof, "the upload ends too early");
                        let error = broken.and_then(Result::err).unwrap_or_else(early);
                        // Who reads no more needs no reason.
                        let _gone = to.send(Err(error)).await;
                        return;
                    }
                }
            }
        });
        pieces
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

fn boundary(content_type: &str) -> Option<&str> {
    let (essence, parameters) = content_type.split_once(';')?;
    let all = parameters.split(';').filter_map(|one| one.trim().split_once('='));
    let mut named = all.filter(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    let boundary = named.next()?.1.trim_matches('"');
    let fits =
        (1..=BOUNDARY_LETTERS_MAX).contains(&boundary.len()) && boundary.bytes().all(|byte| byte.is_ascii_graphic());
    (essence.trim().eq_ignore_ascii_case("multipart/form-data") && fits).then_some(boundary)
}

/// A quoted parameter of a part's `Content-Disposition`; browsers escape quotes in it.
fn parameter<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines();
    let line = lines.find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let mut parameters = line.split(';').filter_map(|one| one.trim().split_once('='));
    parameters.find(|(known, _)| *known == name).map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::http::HeaderMap;
    use axum::http::HeaderValue;
    use tokio::sync::mpsc;

    use super::Upload;
    use super::Wishes;
    use super::boundary;
    use crate::front::problem::Problem;

    /// Sends a body in pieces of this many bytes.
    async fn upload(body: &[u8], piece_bytes: usize) -> (Result<Wishes, Problem>, Vec<u8>, bool) {
        let (to, pieces) = mpsc::channel(body.len() + 1);
        for piece in body.chunks(piece_bytes) {
            to.send(Ok(Bytes::copy_from_slice(piece))).await.unwrap();
        }
        drop(to);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("multipart/form-data; boundary=XyZ"));
        let mut upload = Upload::begin(&headers, pieces).unwrap();
        let wishes = upload.fields().await;
        let (mut file, mut broken) = (Vec::new(), false);
        let mut pieces = upload.file();
        while let Some(piece) = pieces.recv().await {
            match piece {
                Ok(piece) => file.extend_from_slice(&piece),
                Err(_) => broken = true,
            }
        }
        (wishes, file, broken)
    }

    #[tokio::test]
    async fn a_file_comes_through_whole_however_it_is_cut() {
        let file = b"a,b\r\n1,2\r\n--XyX\r\n--Xy";
        let head = "--XyZ\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nicao\r\n--XyZ\r\n\
                    Content-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\nContent-Type: text/csv\r\n\r\n";
        let body = [head.as_bytes(), file, b"\r\n--XyZ--\r\n"].concat();
        for piece_bytes in [1, 2, 3, 7, 64, 4096] {
            let (wishes, received, broken) = upload(&body, piece_bytes).await;
            let expected = Wishes { key: "icao".into(), format: String::new(), file_name: "a.csv".into() };
            assert_eq!((wishes, received.as_slice(), broken), (Ok(expected), &file[..], false), "{piece_bytes}");
        }
        let (_, received, broken) = upload(&body[..body.len() - 6], 5).await;
        assert!(broken, "an upload that breaks off is told from one that ends: {received:?}");
    }

    #[tokio::test]
    async fn what_is_no_upload_is_refused() {
        for body in
            [&b""[..], b"--XyZ", b"--other\r\n\r\n", b"--XyZ\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n"]
        {
            assert!(upload(body, 3).await.0.is_err());
        }
        let endless =
            [&b"--XyZ\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n"[..], &[b'x'; 100_000]].concat();
        assert_eq!(upload(&endless, 1000).await.0.unwrap_err().code, "bad_upload");
        assert_eq!(upload(b"--XyZ--\r\n", 3).await.0, Ok(Wishes::default()), "no file at all");
        assert_eq!(boundary("multipart/form-data; boundary=\"a b\""), None);
        assert_eq!(boundary("multipart/form-data; charset=x; Boundary=\"ab\""), Some("ab"));
        assert_eq!(boundary("text/plain; boundary=a"), None);
    }
}
