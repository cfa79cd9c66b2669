//! Whether the time that a look-up takes tells anything of a token. Tokens of two classes are looked up in an order that is random
//! and each is timed; Welch's t says whether the two classes take equally long, as dudect does it ("Dude, is my code constant
//! time?", Reparaz, Balasch, Verbauwhede, 2017): over all times, and over those below each of a hundred percentiles, since what
//! disturbs a measurement only slows it. Below 4.5 nothing was seen.
//! `RUSTFLAGS='--cfg fuzzing' cargo bench --bench constant_time [-- --check] [--naive]`; `--naive` measures a comparison that ends
//! at the first byte that differs, to show that one is seen.

#![allow(clippy::print_stdout)] // it is what the program is for

#[cfg(not(fuzzing))]
fn main() {
    println!("what looks up is not public: RUSTFLAGS='--cfg fuzzing' cargo bench --bench constant_time");
}

#[cfg(fuzzing)]
fn main() -> std::process::ExitCode {
    measured::main()
}

#[cfg(fuzzing)]
mod measured {
    use std::hint::black_box;
    use std::process::ExitCode;
    use std::time::Instant;

    use mcp_http_gateway::fuzzing::Lookup;

    const MEASUREMENTS: usize = 1_000_000;
    /// Tokens are made this many at a time, so that they stay in the cache; the first give the percentiles.
    const BATCH: usize = 5000;
    const TOKENS: usize = 64;
    const LENGTH: usize = 49;
    const CROPS: usize = 100;
    /// A t of fewer times says nothing.
    const ENOUGH: f64 = 10_000.0;
    const LIMIT: f64 = 4.5;
    /// With `--check`.
    const ATTEMPTS: usize = 3;

    type Token = [u8; LENGTH];

    pub(super) fn main() -> ExitCode {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let is_given = |flag: &str| words.iter().any(|word| word == flag);
        let mut random = Random::new();
        let tokens: Vec<Vec<u8>> = (0..TOKENS).map(|_| random.token().to_vec()).collect();
        let [first, last] = [0, TOKENS - 1].map(|at| Token::try_from(&tokens[at][..]).expect("a token's length"));
        let mut near = first;
        near[LENGTH - 1] = if near[LENGTH - 1] == b'A' { b'B' } else { b'A' };
        let lookup = Lookup::of(&tokens);
        let finds = |given: &Token| lookup.has(given);
        let is_again = |given: &Token| Lookup::is_again(&first, given);
        let finds_naively = |given: &Token| tokens.iter().any(|own| is_equal_naively(own, given));
        let is_again_naively = |given: &Token| is_equal_naively(&first, given);
        let (finds, is_again): (&dyn Fn(&Token) -> bool, &dyn Fn(&Token) -> bool) =
            if is_given("--naive") { (&finds_naively, &is_again_naively) } else { (&finds, &is_again) };
        let cases = [
            ("a wrong token that is nearly right, and random ones", finds, near, None),
            ("a token of the file, and random ones", finds, first, None),
            ("the first token of the file, and the last", finds, first, Some(last)),
            ("the same token again, and random ones", is_again, first, None),
            ("nearly the same token again, and random ones", is_again, near, None),
        ];
        println!("{MEASUREMENTS} look-ups a line, {TOKENS} tokens in the file{:>17}{:>10}", "median", "|t|");
        let mut highest = 0.0_f64;
        for (what, subject, fixed, other) in cases {
            let mut measured = || measure(&mut random, subject, &fixed, other);
            let (mut median, mut t) = measured();
            // What disturbs the machine is not there each time; a time that tells something is.
            for _ in 1..if is_given("--check") { ATTEMPTS } else { 1 } {
                if t >= LIMIT {
                    (median, t) = measured();
                }
            }
            println!("{what:54}{median:>8} ns{t:>10.2}");
            highest = highest.max(t);
        }
        if is_given("--check") && highest >= LIMIT {
            println!("{highest:.2} is not below {LIMIT}: the time tells something");
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }

    #[inline(never)]
    fn is_equal_naively(own: &[u8], given: &[u8]) -> bool {
        own.len() == given.len() && own.iter().zip(given).all(|(one, other)| one == other)
    }

    /// The median of all times, and the highest t. Without another token the second class is random.
    fn measure(random: &mut Random, subject: &dyn Fn(&Token) -> bool, fixed: &Token, other: Option<Token>) -> (u64, f64) {
        let (mut limits, mut median) = (Vec::new(), 0);
        let mut tests = vec![Test::default(); CROPS + 1];
        for _ in 0..=MEASUREMENTS / BATCH {
            // A copy of a token lies where a random one would.
            let class = |random: &mut Random| match random.next() >> 63 {
                0 => (0, *fixed),
                _ => (1, other.unwrap_or_else(|| random.token())),
            };
            let given: Vec<(usize, Token)> = (0..BATCH).map(|_| class(random)).collect();
            let mut times = vec![0; BATCH];
            for (time, (_, token)) in times.iter_mut().zip(&given) {
                let began = Instant::now();
                black_box(subject(black_box(token)));
                *time = began.elapsed().as_nanos() as u64;
            }
            if limits.is_empty() {
                times.sort_unstable();
                median = times[BATCH / 2];
                // Close together at the slow end, where most of what disturbs is.
                let share = |crop: usize| 1.0 - 0.5_f64.powf(10.0 * (crop + 1) as f64 / CROPS as f64);
                limits = (0..CROPS).map(|crop| times[(share(crop) * BATCH as f64) as usize]).collect();
                continue;
            }
            for (time, (class, _)) in times.iter().zip(&given) {
                tests[CROPS].add(*class, *time);
                for (test, limit) in tests.iter_mut().zip(&limits) {
                    if time < limit {
                        test.add(*class, *time);
                    }
                }
            }
        }
        (median, tests.iter().map(Test::t).fold(0.0, f64::max))
    }

    /// Count, mean and squared differences from it, of each class (Welford).
    #[derive(Clone, Default)]
    struct Test([(f64, f64, f64); 2]);

    impl Test {
        fn add(&mut self, class: usize, time: u64) {
            let (count, mean, squares) = &mut self.0[class];
            *count += 1.0;
            let difference = time as f64 - *mean;
            *mean += difference / *count;
            *squares += difference * (time as f64 - *mean);
        }

        fn t(&self) -> f64 {
            let [one, other] = &self.0;
            if one.0 + other.0 < ENOUGH || one.0 < 2.0 || other.0 < 2.0 {
                return 0.0;
            }
            let share = |(count, _, squares): &(f64, f64, f64)| squares / (count - 1.0) / count;
            let error = (share(one) + share(other)).sqrt();
            if error > 0.0 { ((one.1 - other.1) / error).abs() } else { 0.0 }
        }
    }

    /// SplitMix64: which token comes next need not be a secret.
    struct Random(u64);

    impl Random {
        fn new() -> Random {
            let mut seed = [0; 8];
            getrandom::fill(&mut seed).expect("random bytes");
            Random(u64::from_ne_bytes(seed))
        }

        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        }

        fn token(&mut self) -> Token {
            const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let mut token = [0; LENGTH];
            token[..6].copy_from_slice(b"mcpgw_");
            token[6..].fill_with(|| DIGITS[(self.next() >> 58) as usize]);
            token
        }
    }
}
