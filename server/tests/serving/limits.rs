//! What one connection may claim, each limit as a story with paused time.

use std::time::Duration;

use protocol::limits::LINE_BYTES_MAX;
use server::metrics::PacketOutcome;
use server::net::limits::{
    BUFFER_BYTES, DELAY_MAX, DELAY_MIN, IDLE_TIMEOUT, LINE_TIMEOUT, LONG_PACKET_TIMEOUT,
    LONG_PACKETS_MAX, WRITE_TIMEOUT,
};
use tokio::time::{Instant, sleep, timeout};

use crate::memory::{Client, Instance};
use crate::scripted::BET;

const BUSY: &str = "Error:busy a packet of more than 8192 bytes took too long, connect again";
const STATUS: &str = "AgencyStatusResponse:0;0000000000000000;open";

/// What a timer may be late: paused time has a resolution of a millisecond.
const TIMER: Duration = Duration::from_millis(2);

/// Whether `elapsed` is `wanted`, up to the resolution of timers.
fn is_about(elapsed: Duration, wanted: Duration) -> bool {
    (wanted..=wanted + TIMER * 40).contains(&elapsed)
}

/// A line of so many bytes with its `\n` that is no packet.
fn line_of(bytes: usize) -> String {
    "x".repeat(bytes - 1) + "\n"
}

#[tokio::test(start_paused = true)]
async fn each_packet_that_stores_nothing_doubles_the_delay_before_the_next_one() {
    let instance = Instance::start();
    let mut client = instance.connect();
    client.send("hello\n".repeat(16)).await;
    let started = Instant::now();
    let mut wanted = Duration::ZERO;
    for place in 0..16_u32 {
        assert_eq!(client.line().await, "Error:unknown packet");
        assert!(is_about(started.elapsed(), wanted), "{place}: {:?}", started.elapsed());
        if place > 0 {
            wanted += (DELAY_MIN * 2_u32.pow(place - 1)).min(DELAY_MAX);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_stores_ends_the_delays() {
    let instance = Instance::start();
    instance.script.allowed.add_permits(1);
    let mut client = instance.connect();
    for _ in 0..8 {
        client.ask("hello").await;
    }
    assert_eq!(client.ask(&format!("StoreBet:1;{BET}")).await, "StoreResponse:0");
    let started = Instant::now();
    client.ask("hello").await;
    client.ask("hello").await;
    assert!(started.elapsed() < TIMER, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whatever_stores_nothing_counts() {
    let instance = Instance::start();
    instance.script.allowed.add_permits(1_000);
    for packet in [
        "hello".to_owned(),
        "StoreBet:1;Ana".to_owned(),
        format!("StoreRows:2;1:{BET}"),
        format!("StoreBet:3;{BET}"),
        "AgencyStatus:1".to_owned(),
        "AgencyClose:1;9".to_owned(),
    ] {
        let mut client = instance.connect();
        let started = Instant::now();
        for _ in 0..12 {
            client.ask(&packet).await;
        }
        assert!(started.elapsed() > Duration::from_secs(1), "{packet}: {:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_floods_delays_no_other() {
    let instance = Instance::start();
    instance.script.allowed.add_permits(100);
    let mut flooding: Vec<Client> = (0..1_000).map(|_| instance.connect()).collect();
    for client in &mut flooding {
        client.send("\n".repeat(1_000)).await;
    }
    let mut storing = instance.connect();
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(storing.ask(&format!("StoreBet:1;{BET}")).await, "StoreResponse:0");
    }
    assert!(started.elapsed() < TIMER, "{:?}", started.elapsed());
    assert_eq!(instance.metrics.connections_open.get(), 1_001);
    assert_eq!(instance.metrics.packets.get("StoreBet", PacketOutcome::Stored), 100);
}

#[tokio::test(start_paused = true)]
async fn packets_up_to_the_limit_are_answered_and_the_next_one_after_a_longer_line() {
    let instance = Instance::start();
    for bytes in [BUFFER_BYTES, BUFFER_BYTES + 1, LINE_BYTES_MAX, LINE_BYTES_MAX + 1, 1024 * 1024] {
        let mut client = instance.connect();
        client.send(format!("{}AgencyStatus:1\n", line_of(bytes))).await;
        assert_eq!(client.line().await, "Error:unknown packet", "{bytes}");
        assert_eq!(client.line().await, STATUS);
    }
    let mut client = instance.connect();
    client.send(format!("StoreBatch:1;{}AgencyStatus:1\n", line_of(1024 * 1024))).await;
    assert_eq!(client.line().await, "StoreResponse:1");
    assert_eq!(client.line().await, STATUS);
}

#[tokio::test(start_paused = true)]
async fn each_part_of_a_line_that_is_too_long_counts_as_a_packet_that_stores_nothing() {
    let instance = Instance::start();
    let mut client = instance.connect();
    let started = Instant::now();
    client.send(line_of(LINE_BYTES_MAX + 100 * BUFFER_BYTES)).await;
    assert_eq!(client.line().await, "Error:unknown packet");
    assert!(started.elapsed() > DELAY_MAX * 80, "{:?}", started.elapsed());
}

/// Connections that have sent the start of a packet that is longer than a buffer.
async fn half_packets(instance: &Instance, count: usize) -> Vec<Client> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut client = instance.connect();
        client.send("x".repeat(BUFFER_BYTES + 1)).await;
        all.push(client);
    }
    // They are read, and have their permits.
    sleep(DELAY_MIN).await;
    all
}

#[tokio::test(start_paused = true)]
async fn a_long_packet_that_does_not_arrive_gives_its_permit_back_after_five_seconds() {
    let instance = Instance::start();
    let (started, mut halves) = (Instant::now(), half_packets(&instance, 1).await);
    assert_eq!(halves[0].rest().await.trim_end(), BUSY);
    assert!(is_about(started.elapsed(), LONG_PACKET_TIMEOUT), "{:?}", started.elapsed());
    assert_eq!(instance.metrics.refusals.get("busy"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_packet_waits_for_a_permit_and_a_short_one_needs_none() {
    let instance = Instance::start();
    let mut halves = half_packets(&instance, LONG_PACKETS_MAX).await;
    let mut waiting = instance.connect();
    waiting.send(line_of(LINE_BYTES_MAX)).await;
    let started = Instant::now();
    let mut short = instance.connect();
    short.send(line_of(BUFFER_BYTES)).await;
    assert_eq!(short.line().await, "Error:unknown packet");
    assert!(started.elapsed() < TIMER, "{:?}", started.elapsed());
    halves[0].send("\n").await;
    assert_eq!(halves[0].line().await, "Error:unknown packet");
    assert_eq!(waiting.line().await, "Error:unknown packet");
    assert!(started.elapsed() < TIMER, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_long_packet_that_gets_no_permit_in_five_seconds_is_answered_busy() {
    let instance = Instance::start();
    let _executing: Vec<Client> = long_packets_in_execution(&instance).await;
    let mut waiting = instance.connect();
    let started = Instant::now();
    waiting.send("x".repeat(BUFFER_BYTES + 1)).await;
    assert_eq!(waiting.rest().await.trim_end(), BUSY);
    assert!(is_about(started.elapsed(), LONG_PACKET_TIMEOUT), "{:?}", started.elapsed());
}

/// As many long packets as have permits, all of which the store has not stored yet.
async fn long_packets_in_execution(instance: &Instance) -> Vec<Client> {
    let packet = format!("StoreBatch:1;{BET}{}\n", format!(":{BET}").repeat(1_000));
    let mut all = Vec::new();
    for _ in 0..LONG_PACKETS_MAX {
        let mut client = instance.connect();
        client.send(&packet).await;
        all.push(client);
    }
    sleep(DELAY_MIN).await;
    all
}

#[tokio::test(start_paused = true)]
async fn long_packets_one_behind_the_other_keep_no_permit_from_each_other() {
    let instance = Instance::start();
    let mut clients: Vec<Client> = (0..2 * LONG_PACKETS_MAX).map(|_| instance.connect()).collect();
    for client in &mut clients {
        client.send(line_of(LINE_BYTES_MAX - 5_000)).await;
        client.send("hello\n").await;
    }
    for client in &mut clients {
        assert_eq!(client.line().await, "Error:unknown packet");
        assert_eq!(client.line().await, "Error:unknown packet");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_line_is_waited_for_a_minute_and_a_silent_client_an_hour() {
    let instance = Instance::start();
    for (sent, limit) in
        [("AgencyStatus:1\nAgency", LINE_TIMEOUT), ("AgencyStatus:1\n", IDLE_TIMEOUT)]
    {
        let mut client = instance.connect();
        client.send(sent).await;
        assert_eq!(client.line().await, STATUS);
        let started = Instant::now();
        assert_eq!(client.line().await, "", "closed");
        assert!(is_about(started.elapsed(), limit), "{:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn winners_are_waited_for_by_the_hour_and_until_the_shutdown() {
    let instance = Instance::start();
    let mut client = instance.connect();
    client.send("WinnersRequest:1\n").await;
    let waited = timeout(5 * IDLE_TIMEOUT, client.line()).await;
    assert!(waited.is_err(), "still waiting: {waited:?}");
    instance.shutdown.cancel();
    assert_eq!(client.line().await, "", "the client asks another instance");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_answer_is_closed_after_half_a_minute() {
    let instance = Instance::start();
    let (mut client, serving) = instance.connect_with_pipe(16);
    let started = Instant::now();
    client.send("AgencyStatus:1\n").await;
    serving.await.unwrap();
    assert!(is_about(started.elapsed(), WRITE_TIMEOUT), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_shutdown_waits_for_no_delay_and_no_permit() {
    let instance = Instance::start();
    let _executing = long_packets_in_execution(&instance).await;
    let (mut delayed, mut waiting) = (instance.connect(), instance.connect());
    delayed.send("hello\n".repeat(100)).await;
    waiting.send("x".repeat(BUFFER_BYTES + 1)).await;
    // Longer than all delays up to the longest one together.
    sleep(3 * DELAY_MAX).await;
    let started = Instant::now();
    instance.shutdown.cancel();
    assert!(delayed.rest().await.ends_with("Error:unknown packet\n"), "no answer is cut");
    assert_eq!(waiting.rest().await, "");
    assert!(started.elapsed() < TIMER, "{:?}", started.elapsed());
}
