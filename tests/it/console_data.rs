//! The console's data pages on a real node, as a browser without script meets them: addresses and forms. And the code
//! they offer, run as pasted.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use ringfort::cli::client::Client;
use ringfort::cli::client::escape;
use serde_json::Value;
use serde_json::json;

use crate::support::Node;
use crate::support::Reply;
use crate::support::call;

/// What any page with all it loads may weigh (issue: 150 KiB).
const PAGE_BYTES_MAX: usize = 150 * 1024;

/// Keys that break whatever quotes, splits, encodes or draws them carelessly.
const HOSTILE: [&[u8]; 22] = [
    b"EDDF",
    b"with space",
    b" edge ",
    b"a/b//c",
    b"../../etc/passwd",
    b"a%2Fb%",
    b"a+b&c=d;e#f?g",
    b"it's \"quoted\" `x` $(touch touched) $HOME ${y}",
    b"back\\slash\\n",
    b"line\nfeed\r\ttab",
    b"\0",
    b"\xff\xfe\x80",
    b"<script>alert(1)</script>",
    b"\"><img src=x onerror=alert(1)>",
    b"--option",
    b"{json: [1]} {token} %d %s",
    b"\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80",
    b"\xe2\x80\xaegpj.exe",
    b"new",
    b"\xed\xa0\x80",
    b"/",
    b"*/ // # <!-- --> ]]>",
];

async fn node(dir: &tempfile::TempDir) -> (Node, Client) {
    let node = Node::start(&dir.path().join("data")).await;
    for (name, kind) in [("s", "siblings"), ("l", "lww")] {
        let (path, document) = (format!("/v1/buckets/{name}"), json!({ "kind": kind }).to_string());
        assert_eq!(call(&node.owner(), "PUT", &path, &[], document).await.status, 201);
    }
    let client = node.client("person", &["data"]).await;
    (node, client)
}

async fn get(client: &Client, path: &str) -> Reply {
    call(client, "GET", path, &[], "").await
}

/// A page that is there.
async fn page(client: &Client, path: &str) -> String {
    let reply = get(client, path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.text().to_owned()
}

async fn post(client: &Client, path: &str, fields: &BTreeMap<String, String>) -> Reply {
    let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", escape(value.as_bytes()))).collect();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    call(client, "POST", path, &form, pairs.join("&")).await
}

/// Follows the answer to a form, as a browser does.
async fn landed(client: &Client, reply: Reply) -> String {
    assert_eq!(reply.status, 303, "{}", reply.text());
    page(client, reply.header("location").unwrap()).await
}

fn unescape(html: &str) -> String {
    let mut text = html.to_owned();
    for (entity, letter) in
        [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&#38;", "&")]
    {
        text = text.replace(entity, letter);
    }
    text
}

/// What stands between two marks.
fn between<'h>(html: &'h str, from: &str, to: &str) -> Option<&'h str> {
    let (_, rest) = html.split_once(from)?;
    rest.split_once(to).map(|(inner, _)| inner)
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    between(tag, &format!(" {name}=\""), "\"").map(unescape)
}

/// A form of a page: where it goes and what is in it before anything is typed.
#[derive(Debug)]
struct Form {
    action: String,
    fields: BTreeMap<String, String>,
}

impl Form {
    /// The `number`-th form of the page whose action contains this.
    fn find(html: &str, action: &str, number: usize) -> Self {
        let forms = html.split("<form ").skip(1).map(|form| form.split("</form>").next().unwrap());
        let mut fitting = forms.filter(|form| attribute(&format!(" {form}"), "action").unwrap().contains(action));
        let form = fitting.nth(number).unwrap_or_else(|| panic!("no form {action} in {html}"));
        let mut fields = BTreeMap::new();
        for input in form.split("<input ").skip(1).map(|input| format!(" {}", input.split('>').next().unwrap())) {
            let radio = attribute(&input, "type").as_deref() == Some("radio");
            if let Some(name) = attribute(&input, "name").filter(|_| !radio || input.contains(" checked")) {
                fields.insert(name, attribute(&input, "value").unwrap_or_default());
            }
        }
        for area in form.split("<textarea ").skip(1) {
            let (tag, rest) = area.split_once('>').unwrap();
            let text = unescape(rest.split("</textarea>").next().unwrap());
            // The parser drops one line end; the form sends the others as CR LF.
            let text = text.strip_prefix('\n').unwrap().replace("\r\n", "\n").replace('\n', "\r\n");
            fields.insert(attribute(&format!(" {tag}"), "name").unwrap(), text);
        }
        Self { action: attribute(&format!(" {form}"), "action").unwrap(), fields }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.insert(name.to_owned(), value.to_owned());
        self
    }

    async fn send(&self, client: &Client) -> Reply {
        post(client, &self.action, &self.fields).await
    }
}

fn value_path(bucket: &str, key: &[u8]) -> String {
    format!("/v1/kv/{bucket}/{}", escape(key))
}

fn key_path(bucket: &str, key: &[u8]) -> String {
    format!("/data/{bucket}/key?k={}", escape(key))
}

async fn put(client: &Client, bucket: &str, key: &[u8], content_type: &str, body: &[u8]) {
    let headers = [("content-type", content_type)];
    let stored = call(client, "PUT", &value_path(bucket, key), &headers, body.to_vec()).await;
    assert_eq!(stored.status, 200, "{stored:?}");
}

async fn stored(client: &Client, bucket: &str, key: &[u8]) -> Reply {
    get(client, &value_path(bucket, key)).await
}

fn preview(html: &str) -> String {
    unescape(
        between(html, "<pre class=\"preview\" tabindex=\"0\"><code>", "</code>").unwrap_or_else(|| panic!("{html}")),
    )
}

#[tokio::test]
async fn the_wizard_says_the_compromise_before_it_makes_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = node(&dir).await;
    let blank = page(&client, "/data/new").await;
    let questions = Form::find(&blank, "/data/new", 0);
    assert_eq!(questions.fields["loss"], "no");
    assert!(!blank.contains("Make this bucket"));

    let shown = page(&client, "/data/new?name=meters&loss=yes&stale=yes&writers=nobody&ttl=30d").await;
    for said in ["synced to disk on 1 of 3", "may miss an acked write", "the later one stays", "30 days", "weak"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    assert!(shown.contains("ringfort bucket create meters --kind lww --n 3 --r 1 --w 1 --class losable --ttl 30d"));
    assert_eq!(get(&client, "/v1/buckets/meters").await.status, 404, "nothing is made by looking");

    let made = landed(&client, Form::find(&shown, "/data/new", 1).send(&client).await).await;
    assert!(made.contains("The bucket is made"));
    let definition = get(&client, "/v1/buckets/meters").await.json();
    for (field, value) in [("kind", json!("lww")), ("n", json!(3)), ("r", json!(1)), ("w", json!(1))] {
        assert_eq!(definition[field], value);
    }
    assert_eq!((&definition["class"], &definition["ttl"]), (&json!("losable"), &json!("2592000000ms")));

    let strong = page(&client, "/data/new?name=money&loss=never&stale=no&writers=others&ttl=").await;
    assert!(strong.contains("sees every write acked before it") && strong.contains("both values are kept"));
    assert!(strong.contains("any 2 machines") && !strong.contains(">weak<"));

    for (query, wrong) in [
        ("name=Bad+Name", "1 to 63 characters"),
        ("name=", "1 to 63 characters"),
        ("name=meters", "already"),
        ("name=x&ttl=30", "no unit"),
        ("name=%3Cscript%3E", "1 to 63 characters"),
    ] {
        let refused = page(&client, &format!("/data/new?{query}")).await;
        assert!(refused.contains(wrong) && !refused.contains("Make this bucket"), "{query}: {refused}");
        assert!(!refused.contains("<script>"));
    }
    // The answers are judged again when they are sent: an existing bucket is never redefined.
    let again = Form::find(&shown, "/data/new", 1).send(&client).await;
    assert_eq!(again.status, 422);
    assert!(again.text().contains("already"));
    assert_eq!(get(&client, "/v1/buckets/meters").await.json(), definition);

    let reader = node.client("reader", &["device:read"]).await;
    assert_eq!(get(&reader, "/data").await.status, 403);
}

#[tokio::test]
async fn buckets_are_listed_explained_and_removed_by_their_typed_name() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    // A bucket may have the name of the wizard's address.
    let made = post(&client, "/data/new", &[("name".to_owned(), "new".to_owned())].into()).await;
    let location = made.header("location").unwrap().to_owned();
    assert!(landed(&client, made).await.contains("New key") && location.starts_with("/data/%6eew"));
    put(&client, "new", b"k", "text/plain", b"v").await;
    assert!(page(&client, "/data/%6eew").await.contains("/data/%6eew/key?k=k"));

    let list = page(&client, "/data").await;
    for said in ["3 buckets", "/data/%6eew\"", "/data/l\"", "siblings", "3 / 2 / 2", "any 1 machine"] {
        assert!(list.contains(said), "{said}: {list}");
    }
    let about = page(&client, "/data/%6eew/about").await;
    for said in ["An ack means", "A read asks 2 of 3", "/v1/buckets/new/export?format=ndjson", "multipart/form-data"] {
        assert!(about.contains(said), "{said}: {about}");
    }
    let remove = Form::find(&about, "/remove", 0);
    let kept = remove.send(&client).await;
    assert!(kept.status == 422 && kept.text().contains("Nothing was removed"));
    let kept = Form::find(&about, "/remove", 0).with("name", "s").send(&client).await;
    assert_eq!(kept.status, 422);
    assert_eq!(get(&client, "/v1/buckets/new").await.status, 200);
    let gone = landed(&client, remove.with("name", "new").send(&client).await).await;
    assert!(gone.contains("2 buckets") && gone.contains("new and all its data are removed"));
    assert_eq!(get(&client, "/data/%6eew").await.status, 404);
    for missing in ["/data/nope", "/data/nope/about", "/data/nope/new", "/data/nope/key?k=a", "/data/nope/raw?k=a"] {
        let refused = get(&client, missing).await;
        assert!(refused.status == 404 && refused.text().contains("nope"), "{missing}: {}", refused.text());
    }
    let many: Vec<String> = (0..101).map(|number| format!("b{number:03}")).collect();
    for name in &many {
        assert_eq!(call(&client, "PUT", &format!("/v1/buckets/{name}"), &[], "").await.status, 201);
    }
    let first = page(&client, "/data").await;
    assert!(first.contains("103 buckets") && first.contains(">b099<") && !first.contains(">b100<"));
    let next = between(&first, "rel=\"next\" href=\"", "\"").unwrap();
    let second = page(&client, &unescape(next)).await;
    assert!(second.contains(">b100<") && second.contains(">s<") && !second.contains("rel=\"next\""));
}

/// The keys of a page, from their addresses.
fn keys_of(html: &str) -> Vec<Vec<u8>> {
    let links = html.split("class=\"keyname mono\" href=\"").skip(1);
    let key = |link: &str| {
        let address = unescape(link.split('"').next().unwrap());
        ringfort::front::path::decode(address.split_once("?k=").unwrap().1).unwrap()
    };
    links.map(key).collect()
}

fn turn(html: &str, rel: &str) -> Option<String> {
    between(html, &format!("rel=\"{rel}\" href=\""), "\"").map(unescape)
}

#[tokio::test]
async fn keys_are_paged_forward_and_back_whatever_bytes_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let mut keys: Vec<Vec<u8>> = (0..230).map(|number| format!("device/{number:04}").into_bytes()).collect();
    keys.extend((0..=u8::MAX).map(|byte| vec![b'x', byte]));
    keys.extend(HOSTILE.iter().map(|key| key.to_vec()));
    keys.push(vec![0xff; 1024]);
    keys.sort();
    for key in &keys {
        put(&client, "l", key, "text/plain", b"1").await;
    }
    for prefix in [&b""[..], b"device/", b"x", b"\xff", b"x\xff", b"../", b"<script>", b"none"] {
        let expected: Vec<Vec<u8>> = keys.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        let first = page(&client, &format!("/data/l?prefix={}", escape(prefix))).await;
        assert_eq!(turn(&first, "prev"), None);
        let mut pages = vec![first];
        while let Some(next) = turn(pages.last().unwrap(), "next") {
            pages.push(page(&client, &next).await);
        }
        let forward: Vec<Vec<Vec<u8>>> = pages.iter().map(|html| keys_of(html)).collect();
        assert_eq!(forward.concat(), expected, "under {prefix:?}");
        assert!(forward.iter().rev().skip(1).all(|keys| keys.len() == 100), "full but for the last");
        // And back: the same pages.
        let mut here = pages.last().unwrap().clone();
        for before in forward.iter().rev().skip(1) {
            here = page(&client, &turn(&here, "prev").unwrap()).await;
            assert_eq!(&keys_of(&here), before, "back under {prefix:?}");
        }
        assert_eq!(turn(&here, "prev"), None, "the first page is known by itself");
    }
    // A page that begins in the middle of nowhere, and one before everything.
    assert_eq!(keys_of(&page(&client, "/data/l?prefix=device%2F&before=zzz").await).len(), 100);
    assert_eq!(keys_of(&page(&client, "/data/l?prefix=device%2F&before=zzz").await)[99], b"device/0229");
    assert_eq!(keys_of(&page(&client, "/data/l?prefix=device%2F&before=a").await)[0], b"device/0000");
    for bad in ["?after=%G0", "?offset=100", "?prefix=a&prefix=b"] {
        assert_eq!(get(&client, &format!("/data/l{bad}")).await.status, 400, "{bad}");
    }
    // Every key's own page knows it by its bytes.
    for key in HOSTILE {
        let html = page(&client, &key_path("l", key)).await;
        assert_eq!(preview(&html), "1", "{key:?}");
    }
}

/// A key of 1 KiB is 3 KiB in the address of its page.
#[tokio::test]
async fn a_page_of_the_longest_keys_is_as_light_as_any() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let long = |begin: &[u8], letter: u8, number: u8| [begin, &[letter; 1023][begin.len()..], &[number]].concat();
    let mut keys = Vec::new();
    for number in 0..100 {
        keys.extend([long(b"", 0xff, number), long(b"<", b'<', number), long(b"k", b'k', number)]);
        keys.push([vec![b'&'; 120], vec![number]].concat());
    }
    keys.sort();
    for key in &keys {
        put(&client, "l", key, "text/plain", b"1").await;
    }
    let mut assets = BTreeMap::new();
    for prefix in [&b""[..], b"&", b"k", &[0xff; 1000], &[b'<'; 1000]] {
        let expected: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        let (mut forward, mut back) = (Vec::new(), Vec::new());
        let mut here = page(&client, &format!("/data/l?prefix={}", escape(prefix))).await;
        loop {
            for address in here.split(['"', '#']).filter(|part| part.starts_with("/static/")) {
                if !assets.contains_key(address) {
                    assets.insert(address.to_owned(), get(&client, address).await.body.len());
                }
            }
            let bytes = here.len() + assets.values().sum::<usize>();
            assert!(bytes <= PAGE_BYTES_MAX, "{bytes} bytes for {} keys", keys_of(&here).len());
            forward.extend(keys_of(&here));
            let Some(next) = turn(&here, "next") else { break };
            assert!(keys_of(&here).len() >= 8, "{} keys", keys_of(&here).len());
            here = page(&client, &next).await;
        }
        assert_eq!(forward, expected, "forward");
        loop {
            assert!(here.len() + assets.values().sum::<usize>() <= PAGE_BYTES_MAX);
            back.splice(..0, keys_of(&here));
            let Some(previous) = turn(&here, "prev") else { break };
            here = page(&client, &previous).await;
        }
        // The first page is shown full, so it may say again what the one behind it said.
        back.sort();
        back.dedup();
        assert_eq!(back, expected, "back");
    }
}

#[tokio::test]
async fn a_value_is_written_read_back_edited_and_deleted_and_a_change_in_between_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    for bucket in ["s", "l"] {
        let blank = page(&client, &format!("/data/{bucket}/new")).await;
        let form = Form::find(&blank, "/new", 0).with("key", "my key/ü").with("value", "{\"a\": 1}");
        let saved = landed(&client, form.send(&client).await).await;
        assert!(saved.contains("Saved") && preview(&saved) == "{\n  \"a\": 1\n}", "{saved}");
        let key = "my key/ü".as_bytes();
        assert_eq!(stored(&client, bucket, key).await.text(), "{\"a\": 1}");
        assert_eq!(stored(&client, bucket, key).await.header("content-type"), Some("application/json"));

        // A new key that is there already is not written over; what was typed is kept.
        let taken = form.with("value", "[2]").send(&client).await;
        assert!(taken.status == 409 && taken.text().contains("Nothing was written"), "{}", taken.text());
        assert_eq!(Form::find(taken.text(), "/key?k=", 0).fields["value"], "[2]");
        assert_eq!(stored(&client, bucket, key).await.text(), "{\"a\": 1}");

        let edit = Form::find(&page(&client, &format!("{}&edit=0", key_path(bucket, key))).await, "/key?k=", 0);
        assert_eq!(edit.fields["value"], "{\"a\": 1}");
        let saved = landed(&client, edit.with("value", "{\"a\":2}").send(&client).await).await;
        assert_eq!(preview(&saved), "{\n  \"a\": 2\n}");
        assert!(!saved.contains("written at the same time"));

        // Somebody else writes while the editor is open.
        let late = Form::find(&page(&client, &format!("{}&edit=0", key_path(bucket, key))).await, "/key?k=", 0);
        let now = stored(&client, bucket, key).await;
        let headers = [("ringfort-context", now.context()), ("content-type", "text/plain")];
        assert_eq!(call(&client, "PUT", &value_path(bucket, key), &headers, "theirs").await.status, 200);
        let refused = late.with("value", "{\"mine\":1}").send(&client).await;
        assert_eq!(refused.status, 409);
        assert!(refused.text().contains("Somebody changed this key") && preview(refused.text()) == "theirs");
        assert_eq!(stored(&client, bucket, key).await.text(), "theirs", "nothing is overwritten");
        let again = Form::find(refused.text(), "/key?k=", 0);
        assert_eq!(again.fields["value"], "{\"mine\":1}", "what was typed is kept");
        assert_eq!(preview(&landed(&client, again.send(&client).await).await), "{\n  \"mine\": 1\n}");

        let html = page(&client, &key_path(bucket, key)).await;
        let stale = Form::find(&html, "/delete?k=", 0);
        put(&client, "l", b"other", "text/plain", b"").await;
        let edit = Form::find(&page(&client, &format!("{}&edit=0", key_path(bucket, key))).await, "/key?k=", 0);
        landed(&client, edit.with("value", "3").send(&client).await).await;
        let kept = stale.send(&client).await;
        assert!(kept.status == 409 && kept.text().contains("Somebody changed"));
        let html = page(&client, &key_path(bucket, key)).await;
        let gone = landed(&client, Form::find(&html, "/delete?k=", 0).send(&client).await).await;
        assert!(gone.contains("The key is deleted"));
        assert_eq!(stored(&client, bucket, key).await.status, 404);

        // A deleted key can be written again, alone.
        let html = page(&client, &key_path(bucket, key)).await;
        assert!(html.contains("This key has no value"));
        let saved = landed(&client, Form::find(&html, "/key?k=", 0).with("value", "4").send(&client).await).await;
        assert!(preview(&saved) == "4" && !saved.contains("written at the same time"));
        let forged = Form::find(&saved, "/delete?k=", 0).with("context", "AAAA").send(&client).await;
        assert_eq!(forged.status, 400);
    }
}

#[tokio::test]
async fn what_is_typed_wrongly_comes_back_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let blank = page(&client, "/data/s/new").await;
    for (field, value, wrong) in [
        ("content_type", "application/json", "This is not JSON"),
        ("key", "", "key is empty"),
        ("ttl", "5", "no unit"),
        ("content_type", "a\nb", "content type"),
    ] {
        let form = Form::find(&blank, "/new", 0).with("key", "k").with("value", "{</textarea><script>\"");
        let refused = form.with(field, value).send(&client).await;
        assert!(refused.status == 422 && refused.text().contains(wrong), "{field}: {}", refused.text());
        assert!(!refused.text().contains("<script>"), "{}", refused.text());
        assert_eq!(Form::find(refused.text(), "/new", 0).fields["value"], "{</textarea><script>\"");
    }
    assert_eq!(stored(&client, "s", b"k").await.status, 404, "nothing was written");
    let long = Form::find(&blank, "/new", 0).with("key", &"k".repeat(1025)).with("value", "1").send(&client).await;
    assert!(long.status == 422 && long.text().contains("1025 bytes"));
    let timed = Form::find(&blank, "/new", 0).with("key", "brief").with("value", "1").with("ttl", "1h");
    assert!(landed(&client, timed.send(&client).await).await.contains("<dt>Gone</dt>"));
    for (path, body, status) in [
        ("/data/s/key?k=a", "value=%ff", 400),
        ("/data/s/key?k=a", "value=%f", 400),
        ("/data/s/key", "value=1", 400),
        ("/data/s/keep?k=a", "sibling=x", 400),
        ("/data/s/key?k=a&x=1", "value=1", 400),
    ] {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let refused = call(&client, "POST", path, &headers, body).await;
        assert_eq!(refused.status, status, "{path} {body}");
    }
    let plain = call(&client, "POST", "/data/s/key?k=a", &[("content-type", "text/plain")], "value=1").await;
    assert_eq!(plain.status, 415);
    assert_eq!(get(&client, &key_path("s", &[b'k'; 1025])).await.status, 414);
}

/// Writes values that nobody merged.
async fn diverge(client: &Client, key: &[u8], values: &[&str]) {
    for value in values {
        put(client, "s", key, "text/plain", value.as_bytes()).await;
    }
    assert_eq!(stored(client, "s", key).await.status, 300);
}

#[tokio::test]
async fn several_values_stand_side_by_side_until_one_is_kept_or_all_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let key = b"cart\xff".as_slice();
    diverge(&client, key, &["milk", "bread", "<b>eggs</b>"]).await;
    let html = page(&client, &key_path("s", key)).await;
    for said in ["3 values", "Value 1", "Value 3", "milk", "bread", "&#60;b&#62;eggs"] {
        assert!(html.contains(said), "{said}");
    }

    // A fourth one comes while the page is open: nothing is replaced unseen.
    put(&client, "s", key, "text/plain", b"late").await;
    let refused = keep(&html, 1).send(&client).await;
    assert!(refused.status == 409 && refused.text().contains("Value 4") && refused.text().contains("late"));
    assert_eq!(stored(&client, "s", key).await.json()["siblings"].as_array().unwrap().len(), 4);

    let kept = landed(&client, keep(refused.text(), 1).send(&client).await).await;
    assert!(preview(&kept) == "bread" && !kept.contains("Value 2"));
    assert_eq!(stored(&client, "s", key).await.header("content-type"), Some("text/plain"));

    diverge(&client, key, &["one", "two"]).await;
    let merge = page(&client, &format!("{}&edit=1", key_path("s", key))).await;
    let form = Form::find(&merge, "/key?k=", 0);
    assert_eq!(form.fields["value"], "one", "in the order of their writing, bread first");
    put(&client, "s", key, "text/plain", b"late").await;
    let refused = form.with("value", "one and two").send(&client).await;
    assert!(refused.status == 409 && refused.text().contains("late"));
    let again = Form::find(refused.text(), "/key?k=", 0);
    assert_eq!(again.fields["value"], "one and two");
    let merged = landed(&client, again.with("value", "all of them").send(&client).await).await;
    assert_eq!(preview(&merged), "all of them");
    assert_eq!(stored(&client, "s", key).await.text(), "all of them");

    // What is kept lives as long as it would have.
    let brief = format!("{}?ttl=1h", value_path("s", b"brief"));
    assert_eq!(call(&client, "PUT", &brief, &[], "hour").await.status, 200);
    put(&client, "s", b"brief", "text/plain", b"ever").await;
    let html = page(&client, &key_path("s", b"brief")).await;
    let kept = landed(&client, keep(&html, 0).send(&client).await).await;
    assert!(kept.contains("<dt>Gone</dt>"));

    let most: Vec<String> = (0..64).map(|number| format!("value {number} {}", "x".repeat(3000))).collect();
    diverge(&client, b"most", &most.iter().map(String::as_str).collect::<Vec<_>>()).await;
    all_values_seen(&client, key_path("s", b"most"), 64).await;
}

/// Turns the pages of a key with many values: each is shown once, and no page is too heavy.
async fn all_values_seen(client: &Client, first: String, count: usize) {
    let (mut seen, mut next) = (Vec::new(), Some(first));
    while let Some(path) = next {
        let html = page(client, &path).await;
        let bytes = weight(client, &html).await;
        assert!(bytes <= PAGE_BYTES_MAX, "{bytes} bytes");
        seen.extend((1..=count).filter(|number| html.contains(&format!("aria-label=\"Value {number}\""))));
        next = turn(&html, "next");
    }
    assert_eq!(seen, (1..=count).collect::<Vec<_>>());
}

/// The button that keeps one of several values.
fn keep(html: &str, number: usize) -> Form {
    let number = number.to_string();
    assert!(html.contains(&format!("<button form=\"keep\" name=\"sibling\" value=\"{number}\">")), "{html}");
    Form::find(html, "/keep?k=", 0).with("sibling", &number)
}

/// Bytes of a page with everything that it loads, as a browser asks for it.
async fn weight(client: &Client, html: &str) -> usize {
    let mut assets: Vec<&str> = html.split(['"', '#']).filter(|part| part.starts_with("/static/")).collect();
    assets.sort_unstable();
    assets.dedup();
    let mut bytes = html.len();
    for address in assets {
        bytes += call(client, "GET", address, &[("accept-encoding", "gzip, deflate, br")], "").await.body.len();
    }
    bytes
}

/// Every byte of such a key is three in each of its addresses.
#[tokio::test]
async fn the_page_of_the_longest_key_is_as_light_as_any() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let key = [0xff; 1024];
    put(&client, "s", &key, "text/plain", &[b'<'; 1 << 20]).await;
    for what in ["", "&view=hex", "&edit=0"] {
        let html = page(&client, &format!("{}{what}", key_path("s", &key))).await;
        let bytes = weight(&client, &html).await;
        assert!(html.contains("From a program") && bytes <= PAGE_BYTES_MAX, "{bytes} bytes");
    }
    let many: Vec<String> = (0..63).map(|number| format!("value {number} {}", "<".repeat(3000))).collect();
    diverge(&client, &key, &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    all_values_seen(&client, format!("{}&edit=7", key_path("s", &key)), 64).await;
    let html = page(&client, &format!("{}&from=60", key_path("s", &key))).await;
    let kept = landed(&client, keep(&html, 60).send(&client).await).await;
    assert!(preview(&kept).starts_with("value ") && !kept.contains("Value 2"));
}

#[tokio::test]
async fn text_comes_back_from_the_editor_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    for text in ["\n\nafter two lines", "a\r\nb\r\n", "a\nb\n", "&lt;&amp;\"'<>", "\u{202e}ü\u{1f600}", " \t ", ""] {
        put(&client, "s", b"t", "text/plain; charset=utf-8", text.as_bytes()).await;
        let state = stored(&client, "s", b"t").await;
        if state.status == 300 {
            let html = page(&client, &key_path("s", b"t")).await;
            landed(&client, keep(&html, 1).send(&client).await).await;
        }
        let html = page(&client, &format!("{}&edit=0", key_path("s", b"t"))).await;
        landed(&client, Form::find(&html, "/key?k=", 0).send(&client).await).await;
        let after = stored(&client, "s", b"t").await;
        assert_eq!((after.text(), after.header("content-type")), (text, Some("text/plain; charset=utf-8")));
    }
    // What a browser would not leave as it is does not reach its editor.
    for bytes in [&b"a\rb"[..], b"\0", b"\xff", b"mixed\r\nends\n", &[b'x'; 100_000]] {
        put(&client, "l", b"t", "text/plain", bytes).await;
        let html = page(&client, &format!("{}&edit=0", key_path("l", b"t"))).await;
        assert_eq!(Form::find(&html, "/key?k=", 0).fields["value"], "");
        assert!(html.contains("What you type replaces it"));
    }
}

#[tokio::test]
async fn every_value_is_shown_by_its_type_and_none_is_run() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let png = b"\x89PNG\r\n\x1a\n and the rest";
    let script = "<script>alert(1)</script>";
    for (content_type, body, name, seen) in [
        ("application/json", &br#"{"b":[1.0,{}]}"#[..], "JSON", "{\n  \"b\": [\n    1.0,\n    {}\n  ]\n}"),
        ("application/senml+json", b"[1]", "JSON", "[\n  1\n]"),
        ("application/json", b"{\"a\"", "Text", "{\"a\""),
        ("text/html", script.as_bytes(), "Text", script),
        ("image/svg+xml", b"<svg onload='alert(1)'/>", "Text", "<svg onload='alert(1)'/>"),
        ("", "plain \u{202e}txt".as_bytes(), "Text", "plain \\u{202e}txt"),
        ("image/png", b"no picture", "Text", "no picture"),
        (
            "application/octet-stream",
            b"\0\x01hello",
            "Bytes",
            "00000000  00 01 68 65 6c 6c 6f                             ..hello\n",
        ),
    ] {
        put(&client, "l", b"v", content_type, body).await;
        let html = page(&client, &key_path("l", b"v")).await;
        assert!(html.contains(&format!("<h2>{name}</h2>")), "{content_type}: {html}");
        assert_eq!(preview(&html), seen, "{content_type}");
        assert!(!html.contains("alert(1)</script>") && !html.contains("<svg onload"));
        let hex = preview(&page(&client, &format!("{}&view=hex", key_path("l", b"v"))).await);
        assert!(hex.starts_with("00000000  "), "{hex}");
        let raw = get(&client, "/data/l/raw?k=v&sibling=0").await;
        assert_eq!((raw.body.as_slice(), raw.header("content-type")), (body, Some("application/octet-stream")));
        assert_eq!(raw.header("content-disposition"), Some("attachment; filename=\"v\""));
        assert_eq!(raw.header("content-security-policy"), Some("default-src 'none'; sandbox"));
        assert_eq!(get(&client, "/data/l/raw?k=v&as=picture").await.status, 404, "{content_type} is no picture");
    }
    for (content_type, body) in [
        ("image/png", &png[..]),
        ("image/jpeg", b"\xff\xd8\xff\xe0"),
        ("image/gif", b"GIF89a"),
        ("image/webp", b"RIFF0000WEBP"),
    ] {
        put(&client, "l", b"p", content_type, body).await;
        let html = page(&client, &key_path("l", b"p")).await;
        let source = unescape(between(&html, "class=\"picture\" src=\"", "\"").unwrap());
        let picture = get(&client, &source).await;
        assert_eq!((picture.status, picture.body.as_slice()), (200, body));
        assert_eq!(picture.header("content-type"), Some(content_type));
        assert_eq!(picture.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(picture.header("content-security-policy"), Some("default-src 'none'; sandbox"));
    }
    put(&client, "l", b"e", "text/plain", b"").await;
    assert!(page(&client, &key_path("l", b"e")).await.contains("it has no bytes"));
    for large in [vec![b'"'; 1 << 20], vec![0; 1 << 20], format!("[{}1]", "\"<\",".repeat(200_000)).into_bytes()] {
        put(&client, "l", b"big", "application/json", &large).await;
        let html = page(&client, &key_path("l", b"big")).await;
        assert!(html.contains("Only the beginning") && html.len() < 150 * 1024, "{} bytes", html.len());
    }
}

#[tokio::test]
async fn nothing_that_is_stored_becomes_markup() {
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = node(&dir).await;
    let hostile = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u{202e}{{7*7}}";
    put(&client, "s", hostile.as_bytes(), "text/plain; x=\"><script>alert(1)</script>", hostile.as_bytes()).await;
    let csv = "icao,<script>alert(1)</script>\nA,1\n";
    let imported = call(&node.owner(), "POST", "/v1/buckets/l/import?format=csv&key=icao", &[], csv).await;
    assert_eq!(imported.status, 200, "{imported:?}");
    let key = escape(hostile.as_bytes());
    for path in [
        "/data".to_owned(),
        format!("/data?removed={key}"),
        "/data/s".to_owned(),
        format!("/data/s?prefix={key}"),
        format!("/data/s?prefix=none{key}"),
        format!("/data/s/key?k={key}"),
        format!("/data/s/key?k={key}&edit=0"),
        format!("/data/s/key?k={key}&done=saved&view=hex"),
        format!("/data/s/key?k=none{key}"),
        "/data/l/about".to_owned(),
        format!("/data/new?name={key}&ttl={key}"),
        format!("/data/{key}"),
    ] {
        let reply = get(&client, &path).await;
        let html = reply.text();
        assert!(!html.contains("<script>") && !html.contains("<img src=x"), "{path}: {html}");
        assert!(!html.contains("onerror=alert(1)>"), "{path}: {html}");
        assert!(!html.contains(">49<"), "{path}");
        let csp = reply.header("content-security-policy").unwrap();
        assert!(csp.contains("default-src 'none'") && !csp.contains("unsafe"), "{csp}");
    }
    let listed = page(&client, "/data/s").await;
    assert!(listed.contains("\\u{202e}") && !listed.contains('\u{202e}'), "what turns text around is seen, not obeyed");
}

fn program(dir: &Path, name: &str, words: &[&str], token: &str) -> Output {
    let mut command = Command::new(name);
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.args(words).current_dir(dir).env("RINGFORT_TOKEN", token);
    command.output().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The program of a page, as a person copies it.
fn pasted(html: &str, id: &str) -> String {
    unescape(between(html, &format!("<code id=\"{id}\">"), "</code>").unwrap_or_else(|| panic!("{id} in {html}")))
}

/// The line before a program, where the key is long.
fn with_address(html: &str, code: &str) -> String {
    format!("{}\n{code}", pasted(html, "key-url"))
}

/// As a person would: the line for the shell, then the program.
#[tokio::test]
async fn code_for_a_long_key_works_with_the_line_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = node(&dir).await;
    let token = node.token("snippets", &["device:read", "device:write"]).await;
    let key = [&b"'\"$(touch touched)`\\\n"[..], &[0xff; 1000]].concat();
    put(&client, "l", &key, "text/plain", b"before").await;
    let html = page(&client, &key_path("l", &key)).await;
    for (language, interpreter) in [
        ("curl", ""),
        ("python", "python3 program"),
        ("javascript", "node --input-type=module < program"),
        ("rust", "./program.out"),
    ] {
        for (what, expected) in [("read", "before"), ("write", "\"outcome\":\"ok\""), ("read", "hello")] {
            if expected == "before" {
                put(&client, "l", &key, "text/plain", b"before").await;
            }
            let code = pasted(&html, &format!("{language}-{what}"));
            std::fs::write(dir.path().join("program"), &code).unwrap();
            if language == "rust" {
                let words = ["--edition=2021", "-Dwarnings", "-o", "program.out", "program"];
                let built = program(dir.path(), "rustc", &words, &token);
                assert!(built.status.success(), "{built:?}");
            }
            let script = with_address(&html, if language == "curl" { &code } else { interpreter });
            printed(&program(dir.path(), "sh", &["-c", &script], &token), expected);
        }
    }
    assert!(!dir.path().join("touched").exists(), "a shell ran what a key says");
}

fn printed(output: &Output, expected: &str) {
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains(expected), "{expected} in {output:?}");
}

#[tokio::test]
async fn code_for_a_key_works_as_it_is_pasted_whatever_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = node(&dir).await;
    let token = node.token("snippets", &["device:read", "device:write"]).await;
    let run = |language: &str, code: &str| match language {
        "curl" => program(dir.path(), "sh", &["-c", code], &token),
        "python" => program(dir.path(), "python3", &["-c", code], &token),
        _ => program(dir.path(), "node", &["--input-type=module", "-e", code], &token),
    };
    for (number, key) in HOSTILE.iter().chain(&[&b".."[..], b"."]).enumerate() {
        // Starting an interpreter takes its time; each language meets every third key, and all of them the worst.
        let languages = ["curl", "python", "javascript"];
        for (at, language) in languages.into_iter().enumerate() {
            if number % 3 != at && number != 7 {
                continue;
            }
            let bucket = if number % 2 == 0 { "s" } else { "l" };
            let dots = [&b".."[..], b"."].contains(key);
            put_anyhow(&client, bucket, key, b"before").await;
            let html = page(&client, &key_path(bucket, key)).await;
            let (read, write) =
                (pasted(&html, &format!("{language}-read")), pasted(&html, &format!("{language}-write")));
            if dots && language == "javascript" {
                assert!(read.starts_with("//") && write.starts_with("//"));
                continue;
            }
            printed(&run(language, &read), "before");
            printed(&run(language, &write), "\"outcome\":\"ok\"");
            let after = call(&client, "GET", &format!("/data/{bucket}/raw?k={}", escape(key)), &[], "").await;
            let written: Value = after.json();
            assert_eq!(written, json!({ "hello": "world" }), "{language} {key:?}");
            let alone = page(&client, &key_path(bucket, key)).await;
            assert!(!alone.contains("written at the same time"), "{language} {key:?}");
            printed(&run(language, &read), "hello");
        }
    }
    assert!(!dir.path().join("touched").exists(), "a shell ran what a key says");
}

/// Stores a value as the only one.
async fn put_anyhow(client: &Client, bucket: &str, key: &[u8], body: &[u8]) {
    let html = page(client, &key_path(bucket, key)).await;
    let html = if html.contains("id=\"edit\"") {
        html
    } else {
        page(client, &format!("{}&edit=0", key_path(bucket, key))).await
    };
    let form = Form::find(&html, "/key?k=", 0).with("content_type", "text/plain");
    landed(client, form.with("value", std::str::from_utf8(body).unwrap()).send(client).await).await;
}

#[tokio::test]
async fn code_that_is_compiled_compiles_and_works() {
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = node(&dir).await;
    let token = node.token("snippets", &["device:read", "device:write"]).await;
    let key = HOSTILE[7];
    put(&client, "s", key, "text/plain", b"before").await;
    let html = page(&client, &key_path("s", key)).await;
    for what in ["read", "write", "read"] {
        let file = format!("{what}.rs");
        std::fs::write(dir.path().join(&file), pasted(&html, &format!("rust-{what}"))).unwrap();
        let built = program(dir.path(), "rustc", &["--edition=2021", "-Dwarnings", "-o", what, &file], &token);
        assert!(built.status.success(), "{built:?}");
        let binary = dir.path().join(what);
        let ran = program(dir.path(), binary.to_str().unwrap(), &[], &token);
        assert!(String::from_utf8_lossy(&ran.stdout).starts_with("HTTP/1.1 200 OK\r\n"), "{ran:?}");
    }
    assert_eq!(stored(&client, "s", key).await.json(), json!({ "hello": "world" }));
    assert!(!dir.path().join("touched").exists(), "a shell ran what a key says");
    // Go is checked where it is there.
    if Command::new("go").arg("version").output().is_ok() {
        for (what, expected) in [("read", "hello"), ("write", "\"outcome\":\"ok\"")] {
            std::fs::write(dir.path().join(format!("{what}.go")), pasted(&html, &format!("go-{what}"))).unwrap();
            let ran = program(dir.path(), "go", &["run", &format!("{what}.go")], &token);
            printed(&ran, expected);
        }
    }
}

async fn upload(client: &Client, path: &str, key: &str, file_name: &str, file: &[u8]) -> Reply {
    let head = format!(
        "--Xx\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n{key}\r\n\
         --Xx\r\nContent-Disposition: form-data; name=\"format\"\r\n\r\n\r\n\
         --Xx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file_name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let body = [head.as_bytes(), file, b"\r\n--Xx--\r\n"].concat();
    call(client, "POST", path, &[("content-type", "multipart/form-data; boundary=Xx")], body).await
}

#[tokio::test]
async fn a_file_is_imported_from_the_page_and_its_mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, client) = node(&dir).await;
    let file = std::fs::read(crate::support::airports()).unwrap();
    let imported = upload(&client, "/data/l/import", "icao", "airports.csv", &file).await;
    assert_eq!(imported.status, 200, "{}", imported.text());
    assert!(imported.text().contains("28298 rows read, 28298 written"), "{}", imported.text());
    assert!(imported.text().contains("<dt>CSV columns</dt>"));
    assert_eq!(stored(&client, "l", b"EDDF").await.json()["icao"], "EDDF");
    let again = upload(&client, "/data/l/import", "icao", "airports.csv", &file).await;
    assert!(again.text().contains("0 written, 28298 were there already"));
    let listed = keys_of(&page(&client, "/data/l?prefix=EDD").await);
    assert!(listed.contains(&b"EDDF".to_vec()) && listed.iter().all(|key| key.starts_with(b"EDD")), "{listed:?}");

    let broken = b"{\"id\":\"a\"}\nnot json\n{\"id\":\"c<script>\"}\n";
    let partly = upload(&client, "/data/s/import", "id", "rows.ndjson", broken).await;
    assert!(partly.status == 200 && partly.text().contains("<strong>1 not stored</strong>"), "{}", partly.text());
    assert!(partly.text().contains("Line 2"));
    for (key, name, file, wrong) in [
        ("id", "", &b""[..], "Choose a file first"),
        ("id", "rows.txt", b"a", "whether it is CSV or NDJSON"),
        ("nope", "rows.csv", b"a,b\n1,2\n", "nope"),
    ] {
        let refused = upload(&client, "/data/s/import", key, name, file).await;
        assert!(refused.status == 422 && refused.text().contains(wrong), "{wrong}: {}", refused.text());
    }
    for (content_type, body) in [
        ("multipart/form-data", "x"),
        ("text/csv", "a,b\n"),
        ("multipart/form-data; boundary=Xx", "--Xx\r\n"),
        ("multipart/form-data; boundary=Xx", ""),
    ] {
        let refused = call(&client, "POST", "/data/s/import", &[("content-type", content_type)], body).await;
        assert!([400, 415].contains(&refused.status), "{content_type}: {}", refused.status);
    }
    let cut = b"--Xx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.ndjson\"\r\n\r\n{\"key\":\"z\",\"value\":1}\n{";
    let headers = [("content-type", "multipart/form-data; boundary=Xx")];
    let refused = call(&client, "POST", "/data/s/import", &headers, &cut[..]).await;
    assert!(
        refused.status >= 400 && refused.text().contains("ends too early"),
        "{}: {}",
        refused.status,
        refused.text()
    );
}
