//! The newcomer's way: the first command of the README, then one's own value read back in the browser.

use std::process::Command;

use serde_json::Value;

use crate::browser::driver::Browser;
use crate::support::BINARY;
use crate::support::airports;
use crate::support::eventually;
use crate::support::spawn_logged;

/// Clicks from the first page to one's own value (issue 3).
const CLICKS_MAX: u32 = 6;

/// `ringfort dev`, ended with the test.
struct Dev(std::process::Child);

impl Drop for Dev {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _reaped = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_first_command_to_ones_own_value_takes_few_clicks() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("ringfort-dev");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let import = format!("airports={}:icao", airports().display());
    let mut command = Command::new(BINARY);
    command.args(["dev", "--port", &port, "--import", &import, "--data"]).arg(&data).current_dir(dir.path());
    let log = dir.path().join("dev.log");
    let _dev = Dev(spawn_logged(command, &log));
    let text = eventually("dev.json", async || std::fs::read_to_string(data.join("dev.json")).ok()).await;
    let about: Value = serde_json::from_str(&text).unwrap();
    let console = about["console"].as_str().unwrap();
    // Whoever follows the README reads this address on the terminal.
    eventually("the console's address on the terminal", async || {
        std::fs::read_to_string(&log).is_ok_and(|said| said.contains(console)).then_some(())
    })
    .await;

    let browser = Browser::start().await;
    browser.size(1440, 900).await;
    browser.go(console).await;
    browser.click("nav a:text(Data)").await;
    browser.click("a:text(New bucket)").await;
    browser.fill("#name", "mine").await;
    browser.click("button:text(Show what that means)").await;
    browser.click("button:text(Make this bucket)").await;
    browser.click("a:text(New key)").await;
    browser.fill("#key", "greeting").await;
    browser.fill("#value", "my own value").await;
    browser.click("button:text(Save)").await;
    browser
        .until("the value read back", "return document.querySelector('.preview')?.textContent === 'my own value'")
        .await;
    assert!(browser.clicks() <= CLICKS_MAX, "{} clicks", browser.clicks());
    println!("{} clicks", browser.clicks());
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
