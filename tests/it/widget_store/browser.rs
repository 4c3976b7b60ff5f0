//! The shop's page in Chromium: what its customers see while the shop dies and comes back.

use harness::browser::{Browser, Driver};
use harness::on_each_backend;
use harness::shop::Shop;
use serde_json::json;

/// Notes each place at which the order's bar stands. A reload of the page would lose the notes.
const NOTE_THE_BAR: &str = "
    window.seen = [];
    const bar = document.querySelector('#order-progress .bar');
    const set = bar.setAttribute.bind(bar);
    bar.setAttribute = (name, value) => {
        if (name === 'aria-valuenow' && value > 0 && window.seen.at(-1) !== value) window.seen.push(value);
        set(name, value);
    };";

async fn buy_and_pay(browser: &Browser) -> String {
    browser.click("#buy").await;
    browser.until("a reserved widget", "location.search.startsWith('?payment=')").await;
    browser.click("#pay").await;
    browser.until("a paid order", "location.search.startsWith('?order=')").await;
    browser.run("return location.href").await.as_str().unwrap().to_owned()
}

on_each_backend! {
    async fn the_bar_goes_on_after_a_crash_without_a_reload_and_nobody_else_sees_it(fresh: Fresh) {
        let slow = ("WIDGET_TICK_MS", "1500");
        let mut shop = Shop::open(&fresh, &[slow]).await.unwrap();
        let address = shop.address.to_string();
        let driver = Driver::start().await;
        let browser = driver.open().await;
        browser.go(&format!("http://{address}/")).await;
        browser.run(NOTE_THE_BAR).await;
        let order = buy_and_pay(&browser).await;
        browser.until("a third of the way", "window.seen.includes(30)").await;
        assert_eq!(browser.console().await, Vec::<String>::new());

        shop.process.kill9().await;
        browser.until("an outage", "document.body.classList.contains('offline')").await;
        let shop = Shop::open(&fresh, &[slow, ("WIDGET_ADDR", &address)]).await.unwrap();
        browser.until("the shop again", "!document.body.classList.contains('offline')").await;
        // Not its own doing: the order of another customer.
        let other = driver.open().await;
        other.go(&order).await;
        other.until("no order", "document.querySelector('#order-text').textContent.startsWith('There is no order')").await;
        let asked = "return Promise.all(['/order/1', '/orders'].map(async (path) => (await fetch(path)).text()))";
        let answers = other.run(asked).await;
        assert!(answers[0].as_str().unwrap().contains("\"status\":404"), "{answers}");
        assert_eq!(answers[1], "[]");

        browser.until("dispatched", "document.querySelector('#order-badge').textContent === 'Dispatched'").await;
        // Each tick once and in order, though the process that began them is dead.
        assert_eq!(browser.run("return window.seen").await, json!([10, 20, 30, 40, 50, 60, 70, 80, 90, 100]));
        let strange = browser.console().await.into_iter().filter(|error| !error.contains("net::ERR_"));
        assert_eq!(strange.collect::<Vec<_>>(), Vec::<String>::new());
        let progress = browser.run("return fetch('/order/1').then((answer) => answer.json())").await;
        let progress = progress["progress_url"].as_str().unwrap();
        let stream = format!("return fetch('{progress}').then((answer) => answer.status)");
        assert_eq!(browser.run(&stream).await, 200);
        assert_eq!(other.run(&stream).await, 404);
        drop(shop);
    }
}
