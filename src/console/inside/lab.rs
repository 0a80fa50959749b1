//! `/lab`: the ring lab. Every question is an address, so that it can be sent to somebody; none changes anything.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::base::codec;
use crate::base::id::NodeId;
use crate::base::limits::KEY_BYTES_MAX;
use crate::base::limits::LAB_KEYS;
use crate::base::limits::NAME_BYTES_MAX;
use crate::base::limits::NODE_WEIGHT_DEFAULT;
use crate::base::limits::NODE_WEIGHT_MAX;
use crate::base::limits::REPLICAS_MAX;
use crate::console::page;
use crate::console::page::Answer;
use crate::console::page::Page;
use crate::console::page::Refused;
use crate::console::page::Section;
use crate::console::page::Visit;
use crate::console::show;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::lab::Placed;
use crate::node::lab::RingOdds;
use crate::proto::lab::chord;
use crate::proto::lab::moves::Change;
use crate::proto::lab::moves::Moved;
use crate::proto::lab::moves::Outcome;
use crate::proto::lab::odds::Numbers;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::survives::Survives;

/// Where it is.
pub const LAB: &str = "/lab";

/// The key of the example that talks show, and its nodes.
const EXAMPLE: &str = "mail-23412";
/// See [`EXAMPLE`].
const SPOTS: [(&str, &str); 3] = [("s1", "235.23.34.12"), ("s2", "223.23.141.53"), ("s3", "122.67.12.23")];

#[derive(Template)]
#[template(path = "inside/lab.html")]
struct Lab {
    page: Page,
    asked: Asked,
    placed: Placed,
    nodes: Vec<(NodeId, String, Candidate)>,
    change: &'static str,
    outcome: Option<Outcome>,
    odds: RingOdds,
    spots: Vec<(String, &'static str, String)>,
    chord: Option<Chord>,
}

/// What was typed.
struct Asked {
    bucket: String,
    key: String,
    what: String,
    node: NodeId,
    zone: String,
    weight: u32,
    numbers: Numbers,
    p: f64,
}

/// A key on the ring of the example.
struct Chord {
    hash: String,
    again: String,
    lower: [String; 2],
    successor: [String; 2],
}

/// `GET /lab`.
pub async fn show(State(node): State<Node>, visit: Visit, uri: Uri) -> Answer {
    let nodes = node.lab_nodes();
    let asked = Asked::of(&uri, &nodes)?;
    let (change, words) = asked.change()?;
    let key = asked.key.as_bytes();
    let lab = Lab {
        page: Page::new(&node, &visit, Section::Inside, "Ring lab"),
        placed: node.lab_place(&asked.bucket, key),
        outcome: node.lab_moves(&change),
        odds: node.lab_odds(asked.numbers, asked.p),
        spots: spots(),
        chord: on_the_example(key),
        change: words,
        nodes,
        asked,
    };
    std::future::ready(page::render(&lab)).await
}

impl Asked {
    fn of(uri: &Uri, nodes: &[(NodeId, String, Candidate)]) -> Result<Self, Refused> {
        let query = Query::parse(uri, &["bucket", "key", "what", "node", "zone", "weight", "n", "r", "w", "p"])?;
        let text = |name, max: usize| -> Result<Option<String>, Refused> {
            let text = query.text(name)?.map(str::to_owned);
            match text {
                Some(long) if long.len() > max => {
                    Err(Refused(Problem::bad_request("bad_parameter", format!("`{name}` has at most {max} bytes"))))
                }
                text => Ok(text),
            }
        };
        let first = nodes.first().map_or(NodeId(1), |(node, ..)| *node);
        let n = within(&query, "n", 3, (1, u32::from(REPLICAS_MAX)))?;
        let p = match text("p", 32)? {
            None => 0.001,
            Some(text) => text.parse().ok().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(|| {
                Refused(Problem::bad_request("bad_parameter", "`p` is a probability from 0 to 1, such as 0.001"))
            })?,
        };
        Ok(Self {
            bucket: text("bucket", NAME_BYTES_MAX)?.unwrap_or_default(),
            key: text("key", KEY_BYTES_MAX)?.unwrap_or_else(|| EXAMPLE.to_owned()),
            what: text("what", NAME_BYTES_MAX)?.unwrap_or_else(|| "join".to_owned()),
            node: query.number("node")?.map_or(first, NodeId),
            zone: text("zone", NAME_BYTES_MAX)?.unwrap_or_else(|| "default".to_owned()),
            weight: within(&query, "weight", NODE_WEIGHT_DEFAULT, (0, NODE_WEIGHT_MAX))?,
            numbers: Numbers {
                n,
                r: within(&query, "r", n / 2 + 1, (1, n))?,
                w: within(&query, "w", n / 2 + 1, (1, n))?,
            },
            p,
        })
    }

    fn change(&self) -> Result<(Change, &'static str), Refused> {
        match self.what.as_str() {
            "join" => {
                let candidate = Candidate { zone: self.zone.clone(), weight: self.weight };
                Ok((Change::Join(candidate), "a machine joins"))
            }
            "lose" => Ok((Change::Lose(self.node), "that machine is gone")),
            "weigh" => Ok((Change::Weigh(self.node, self.weight), "that machine has another share")),
            _ => Err(Refused(Problem::bad_request("bad_parameter", "`what` is not one of: join, lose, weigh"))),
        }
    }
}

fn within(query: &Query, name: &'static str, default: u32, (min, max): (u32, u32)) -> Result<u32, Refused> {
    let number = query.number(name)?.unwrap_or(default);
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(Refused(Problem::bad_request("bad_parameter", format!("`{name}` is {min} to {max}"))))
}

fn name_of(address: &str) -> &'static str {
    SPOTS.iter().find(|(_, known)| *known == address).map_or("", |(name, _)| name)
}

fn ring() -> Vec<chord::Spot> {
    chord::ring(&SPOTS.map(|(_, address)| address))
}

fn spots() -> Vec<(String, &'static str, String)> {
    ring().into_iter().map(|spot| (codec::hex(&spot.hash), name_of(&spot.name), spot.name)).collect()
}

fn on_the_example(key: &[u8]) -> Option<Chord> {
    let placed = chord::place(&ring(), key)?;
    let named = |names: [String; 2]| names.map(|name| name_of(&name).to_owned());
    Some(Chord {
        hash: codec::hex(&placed.hash),
        again: codec::hex(&placed.again),
        lower: named(placed.lower),
        successor: named(placed.successor),
    })
}

/// Keys of the sample as a share of it.
fn share(keys: usize, copies: usize) -> String {
    format!("{}\u{a0}%", (keys * 1000 / (LAB_KEYS * copies).max(1)) as f64 / 10.0)
}

/// `12.3 % of keys, 4.5 % of copies`.
fn moved(moved: &Moved) -> String {
    format!("{} of keys get another first owner, {} of copies move", share(moved.keys, 1), share(moved.copies, 3))
}

/// A probability, and how rare that is; to three digits, above a million million in powers of ten.
fn odds(p: &f64) -> String {
    let p = *p;
    if p <= 0.0 {
        return "never".to_owned();
    }
    let once_in = 1.0 / p;
    let whole: Option<u64> = format!("{once_in:.0}").parse().ok().filter(|_| once_in < 1e12);
    let of = whole.map_or_else(|| format!("{once_in:.2e}"), show::count);
    format!("1 in {of} ({p:.2e})")
}

fn ring_odds(p: &Option<f64>) -> String {
    p.as_ref().map_or_else(|| "too many machines to look at every state".to_owned(), odds)
}

fn machines(survives: &Survives) -> String {
    match survives.strict.or(survives.weak).and_then(|margins| margins.machines.left) {
        None => "not even as it is".to_owned(),
        Some(0) => "the loss of no machine".to_owned(),
        Some(left) => format!("the loss of any {}", show::plural(left as u64, "machine", "machines")),
    }
}
