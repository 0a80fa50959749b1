//! What every page must be, in both themes and at both widths: silent in the console, within its policy, no wider than
//! the window, light, and without a serious finding of axe-core. Findings are collected, so that one run shows all.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::browser::driver::Browser;
use crate::browser::driver::artefacts;

/// Phone and desk.
pub const SIZES: [(u32, u32); 2] = [(390, 844), (1440, 900)];
pub const THEMES: [&str; 2] = ["light", "dark"];

/// Bytes of a page with everything it loads (issue 3).
const PAGE_BYTES_MAX: u64 = 150 * 1024;

/// The page is loaded, and script has done its part.
const SETTLED: &str = "return document.readyState === 'complete' && document.fonts.status === 'loaded'";

/// Elements that reach over the window's edge and are not inside something that scrolls by itself.
const TOO_WIDE: &str = "\
    const width = document.documentElement.clientWidth;\
    if (document.documentElement.scrollWidth <= width) return [];\
    const scrolls = (element) => element && element !== document.body && element !== document.documentElement &&\
        (getComputedStyle(element).overflowX !== 'visible' || scrolls(element.parentElement));\
    const wide = [...document.body.querySelectorAll('*')].filter((element) =>\
        element.getBoundingClientRect().right > width + 0.5 && !scrolls(element.parentElement));\
    const name = (element) => element.tagName.toLowerCase() + (element.id ? '#' + element.id : '') +\
        (typeof element.className === 'string' && element.className ? '.' + element.className.split(' ').join('.') : '') +\
        ' to ' + Math.round(element.getBoundingClientRect().right);\
    return ['scrolls to ' + document.documentElement.scrollWidth, ...wide.slice(0, 5).map(name)];";

/// Text that runs out of its box: over its neighbours, or cut off.
const SPILLS: &str = "\
    const words = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());\
    const spills = (element) => {\
        const style = getComputedStyle(element);\
        if (style.display.startsWith('inline') || style.display === 'none' || style.overflow !== 'visible') return false;\
        if (!element.checkVisibility() || element.clientWidth <= 1) return false;\
        return element.scrollWidth > element.clientWidth + 2 || element.scrollHeight > element.clientHeight + 4;\
    };\
    const boxes = [...document.querySelectorAll('main *, header *')].filter((element) =>\
        (words(element) || element.matches('h1, h2, h3')) && spills(element));\
    return boxes.slice(0, 5).map((element) => element.tagName.toLowerCase() + '.' + element.className + ' ' +\
        element.textContent.trim().slice(0, 30));";

/// Bytes of the document and all that it loaded, as they are on the wire without heads.
const BYTES: &str = "\
    const parts = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];\
    return parts.filter((part) => part.initiatorType !== 'fetch' && part.initiatorType !== 'xmlhttprequest')\
        .reduce((sum, part) => sum + part.encodedBodySize, 0);";

const AXE: &str = "\
    const done = arguments[0];\
    axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations.map((violation) => ({\
        id: violation.id, impact: violation.impact, help: violation.help,\
        at: violation.nodes.slice(0, 5).map((node) => node.target.join(' ') + ': ' + (node.any[0] || node.all[0] ||\
            node.none[0] || { message: '' }).message)\
    }))), (error) => done([{ id: 'axe', impact: 'critical', help: String(error), at: [] }]));";

/// axe-core's source, fetched by `tests/browser-tools`.
fn axe() -> String {
    let fallback = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/browser/axe-core-4.14.1.min.js");
    let path = std::env::var_os("RINGFORT_AXE").map_or_else(fallback, PathBuf::from);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run tests/browser-tools, which fetches axe-core", path.display()))
}

/// Looks at pages and remembers what is wrong.
pub struct Inspector {
    axe: String,
    wrong: Vec<String>,
    minor: Vec<String>,
    seen: Vec<String>,
}

impl Inspector {
    pub fn new() -> Self {
        Self { axe: axe(), wrong: Vec::new(), minor: Vec::new(), seen: Vec::new() }
    }

    /// A page that is refused with this status, which the browser's console always mentions.
    pub async fn refusal(&mut self, browser: &Browser, name: &str, url: &str, status: u16) {
        let before = self.wrong.len();
        self.page(browser, name, url).await;
        let mention = format!("the server responded with a status of {status} ");
        let mut mentions = 0;
        let kept = self.wrong.split_off(before).into_iter().filter(|line| {
            let is_mention = line.contains(&mention);
            mentions += u32::from(is_mention);
            !is_mention
        });
        self.wrong.extend(kept.collect::<Vec<_>>());
        if mentions != 4 {
            self.wrong.push(format!("{name}: {mentions} of 4 loads were refused with {status}"));
        }
    }

    /// A page at an address, in both themes and at both widths.
    pub async fn page(&mut self, browser: &Browser, name: &str, url: &str) {
        for theme in THEMES {
            browser.prefers(theme).await;
            for (width, height) in SIZES {
                browser.size(width, height).await;
                browser.go(url).await;
                self.view(browser, &format!("{name}-{theme}-{width}")).await;
            }
        }
    }

    /// What the browser shows now, in both themes and at both widths, without loading it anew.
    pub async fn state(&mut self, browser: &Browser, name: &str) {
        for theme in THEMES {
            browser.prefers(theme).await;
            for (width, height) in SIZES {
                browser.size(width, height).await;
                self.view(browser, &format!("{name}-{theme}-{width}")).await;
            }
        }
    }

    /// The same for a refusal, which the browser's console has mentioned once.
    pub async fn shown_refusal(&mut self, browser: &Browser, name: &str) {
        let complaints = browser.complaints().await;
        if complaints.len() != 1
            || !complaints.iter().all(|line| line.contains("the server responded with a status of 4"))
        {
            self.wrong.push(format!("{name}: {complaints:?}"));
        }
        self.state(browser, name).await;
    }

    async fn view(&mut self, browser: &Browser, view: &str) {
        browser.until("a loaded page", SETTLED).await;
        browser.shot(view).await;
        self.seen.push(view.to_owned());
        for complaint in browser.complaints().await {
            self.wrong.push(format!("{view}: {complaint}"));
        }
        let wide = browser.run(TOO_WIDE, &[]).await;
        if wide.as_array().is_some_and(|wide| !wide.is_empty()) {
            self.wrong.push(format!("{view}: wider than the window: {wide}"));
        }
        let spills = browser.run(SPILLS, &[]).await;
        if spills.as_array().is_some_and(|spills| !spills.is_empty()) {
            self.wrong.push(format!("{view}: text runs out of its box: {spills}"));
        }
        let bytes = browser.run(BYTES, &[]).await.as_u64().unwrap_or(u64::MAX);
        if !(1..=PAGE_BYTES_MAX).contains(&bytes) {
            self.wrong.push(format!("{view}: {bytes} bytes"));
        }
        self.audit(browser, view).await;
    }

    async fn audit(&mut self, browser: &Browser, view: &str) {
        if browser.run("return typeof axe", &[]).await == "undefined" {
            browser.run(&self.axe, &[]).await;
        }
        let found = browser.run_async(AXE).await;
        for violation in found.as_array().expect("axe answers with a list") {
            let text = |name: &str| violation[name].as_str().unwrap_or("?");
            let line =
                format!("{view}: axe {} {}: {} at {}", text("impact"), text("id"), text("help"), violation["at"]);
            match violation["impact"].as_str() {
                Some("minor" | "moderate") => self.minor.push(line),
                _ => self.wrong.push(line),
            }
        }
        // What axe itself does to a page is not the page's fault.
        let _of_axe = browser.complaints().await;
    }

    /// Fails where anything was wrong; keeps the whole list as an artefact.
    pub fn done(self, name: &str) {
        let mut report = String::new();
        let _written =
            writeln!(report, "{} views, {} wrong, {} minor", self.seen.len(), self.wrong.len(), self.minor.len());
        for line in self.wrong.iter().chain(&self.minor) {
            let _written = writeln!(report, "{line}");
        }
        std::fs::write(artefacts().join(format!("{name}.txt")), &report).unwrap();
        assert!(!self.seen.is_empty(), "no page was looked at");
        assert!(self.wrong.is_empty(), "{report}");
    }
}

/// Whether axe and the other checks see anything at all is asked of a page that is wrong in every way.
pub fn bad_page() -> (&'static str, [&'static str; 6]) {
    let page = "<!doctype html><html><head><title>Bad</title></head><body>\
        <img src='https://elsewhere.invalid/x.png'><input><p style='width:2000px'>wide</p>\
        <main><h1 style='width:18px;height:20px'>a heading squeezed</h1></main>\
        <script>inline()</script></body></html>";
    (
        page,
        [
            "policy img-src",
            "policy script-src",
            "wider than the window",
            "text runs out of its box",
            "axe critical image-alt",
            "axe critical label",
        ],
    )
}

impl Inspector {
    /// What was found wrong.
    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }
}
