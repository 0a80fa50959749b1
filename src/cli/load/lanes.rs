//! Connections that work off the schedule. A lane that is free takes the next request, waits until it is due, sends it
//! and waits for the answer. While all lanes wait, requests that fall due stay in the schedule; whoever takes them later
//! still counts from when they were due. So a node that stands still is seen by every request it keeps waiting, not
//! only by the one it was working on.

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::join_all;
use futures_util::future::try_join_all;
use hyper::Method;
use hyper::body::Bytes;

use crate::base::limits::LOAD_ANSWER_TIMEOUT;
use crate::base::time;
use crate::cli::client::Answer;
use crate::cli::client::Client;
use crate::cli::client::Connection;
use crate::cli::client::Target;
use crate::cli::client::full;
use crate::cli::load::plan::Arrival;
use crate::cli::load::plan::Operation;
use crate::cli::load::plan::Plan;
use crate::cli::load::tally::Tally;
use crate::cli::load::tally::Trouble;
use crate::cli::load::timer::Timer;
use crate::cli::output::Failure;

/// Before a lane without a connection tries again: a node that restarts is met soon and not hammered.
const RECONNECT_AFTER: Duration = Duration::from_millis(100);

/// What lanes send.
pub struct Work {
    /// Up to the device's number.
    pub path: String,
    /// Values are windows of this.
    pub pool: Bytes,
    /// Bytes of one value.
    pub size: usize,
}

impl Work {
    fn path_of(&self, device: u64) -> String {
        format!("{}{device}", self.path)
    }

    fn value(&self, draw: u64) -> Bytes {
        let starts = (self.pool.len() - self.size) as u64 + 1;
        let start = usize::try_from(draw % starts).unwrap_or(0);
        self.pool.slice(start..start + self.size)
    }
}

/// One connection and its alarm clock.
struct Lane {
    /// Where it goes.
    node: Client,
    connection: Option<Connection>,
    timer: Timer,
}

/// What an answer said.
struct Exchanged {
    status: u16,
    /// Of the value that crossed.
    bytes: usize,
    after: After,
}

/// Where a lane's next request goes.
enum After {
    /// Over the same connection.
    Stay,
    /// Over another one to the same node.
    Anew,
    /// To another node.
    Move(Target),
}

/// A run while it goes on: one task, many lanes.
pub struct Run<'a> {
    client: &'a Client,
    work: &'a Work,
    plan: RefCell<Plan>,
    tally: RefCell<Tally>,
    length: Duration,
    lanes: Cell<Vec<Lane>>,
    began: Instant,
}

impl<'a> Run<'a> {
    /// Opens all connections; then the clock starts.
    ///
    /// # Errors
    /// Where a connection or its timer cannot be had; nothing was sent.
    pub async fn open(
        client: &'a Client,
        work: &'a Work,
        plan: Plan,
        length: Duration,
        connections: usize,
    ) -> Result<Self, Failure> {
        let lane = async || {
            let timer = Timer::new().map_err(|error| Failure::io("a timer for each connection", &error))?;
            Ok::<_, Failure>(Lane { node: client.clone(), connection: Some(client.open().await?), timer })
        };
        let lanes = try_join_all((0..connections).map(|_| lane())).await?;
        let tally = RefCell::new(Tally::new()?);
        Ok(Self { client, work, plan: plan.into(), tally, length, lanes: lanes.into(), began: time::mono() })
    }

    /// Works until the schedule has ended and every request sent has its answer or is given up.
    ///
    /// # Errors
    /// Where the kernel's timers fail.
    pub async fn work_off(&self) -> io::Result<()> {
        let lanes = self.lanes.take();
        join_all(lanes.into_iter().map(|lane| self.drive(lane))).await.into_iter().collect()
    }

    /// How long it has gone on.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What was measured so far.
    pub fn so_far<T>(&self, look: impl FnOnce(&mut Tally) -> T) -> T {
        let mut tally = self.tally.borrow_mut();
        tally.elapsed = self.elapsed();
        look(&mut tally)
    }

    /// What was measured in all.
    pub fn end(self, interrupted: bool) -> Tally {
        let elapsed = self.elapsed();
        let mut tally = self.tally.into_inner();
        tally.missed = self.plan.into_inner().rest(elapsed);
        tally.elapsed = elapsed;
        tally.interrupted = interrupted;
        tally
    }

    /// The next request; `None` where the run is over. What is still overdue then stays in the schedule.
    fn take(&self) -> Option<Arrival> {
        let now = self.elapsed();
        if now >= self.length { None } else { self.plan.borrow_mut().next(now) }
    }

    async fn drive(&self, mut lane: Lane) -> io::Result<()> {
        loop {
            if lane.connection.is_none() && self.elapsed() < self.length {
                lane.connection = lane.node.open().await.ok();
                if lane.connection.is_none() {
                    // Where it was sent nobody is: back to where it began.
                    lane.node = self.client.clone();
                    tokio::time::sleep(RECONNECT_AFTER).await;
                    continue;
                }
            }
            let Some(connection) = &mut lane.connection else { return Ok(()) };
            let Some(arrival) = self.take() else { return Ok(()) };
            lane.timer.until(self.began + arrival.due).await?;
            match self.ask(connection, arrival).await {
                After::Stay => {}
                After::Anew => lane.connection = None,
                After::Move(target) => {
                    lane.connection = None;
                    lane.node = self.client.at(target);
                    self.tally.borrow_mut().moved += 1;
                }
            }
        }
    }

    /// One request, and what becomes of its connection.
    async fn ask(&self, connection: &mut Connection, arrival: Arrival) -> After {
        let operation = arrival.operation;
        self.tally.borrow_mut().sent();
        let asked = tokio::time::timeout(LOAD_ANSWER_TIMEOUT, self.exchange(connection, arrival)).await;
        let latency = self.elapsed().saturating_sub(arrival.due);
        let mut tally = self.tally.borrow_mut();
        let why = match asked {
            Ok(Ok(Exchanged { status: 200 | 300, bytes, after })) => {
                tally.answered(operation, latency, bytes);
                return after;
            }
            Ok(Ok(Exchanged { status: 404, after, .. })) if operation == Operation::Read => {
                tally.answered(operation, latency, 0);
                tally.was_absent(operation);
                return after;
            }
            Ok(Ok(Exchanged { status, after, .. })) => {
                tally.failed(operation, Trouble::Status(status));
                return after;
            }
            Ok(Err(_broken)) => Trouble::Broken,
            Err(_elapsed) => Trouble::TimedOut,
        };
        tally.failed(operation, why);
        After::Anew
    }

    /// Sends a request and reads its answer to the end.
    async fn exchange(&self, connection: &mut Connection, arrival: Arrival) -> Result<Exchanged, Failure> {
        let path = self.work.path_of(arrival.device);
        let (mut answer, sent) = match arrival.operation {
            Operation::Read => (connection.send(Method::GET, &path, &[], full("")).await?, None),
            Operation::Write => {
                let value = self.work.value(arrival.draw);
                let bytes = value.len();
                let headers = [("content-type", "text/plain")];
                (connection.send(Method::PUT, &path, &headers, full(value)).await?, Some(bytes))
            }
        };
        let mut read = 0;
        while let Some(piece) = answer.piece().await? {
            read += piece.len();
        }
        let (status, after) = (answer.head.status.as_u16(), self.after(&answer));
        Ok(Exchanged { status, bytes: sent.unwrap_or(read), after })
    }

    /// What a device does that takes a node's word: it goes to the first of those that it is told of, but not where it
    /// would be heard by others.
    fn after(&self, answer: &Answer) -> After {
        let told = answer.header("ringfort-nodes").unwrap_or_default().split(',');
        let mut targets = told.filter_map(|url| Target::parse(url.trim()).ok());
        let alike = |target: &Target| std::mem::discriminant(target) == std::mem::discriminant(self.client.target());
        match targets.find(alike) {
            Some(target) => After::Move(target),
            None if answer.header("connection") == Some("close") => After::Anew,
            None => After::Stay,
        }
    }
}
