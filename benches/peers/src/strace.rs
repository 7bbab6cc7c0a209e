//! Reads the table that `strace -c` writes.

use std::collections::BTreeMap;

/// How often each system call was made. Lines are `% time, seconds, usecs/call, calls, [errors,] syscall`.
pub fn parse(table: &str) -> BTreeMap<String, u64> {
    let calls = table.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let count = words.get(3)?.parse().ok()?;
        words[0].parse::<f64>().ok()?;
        let name = *words.last()?;
        (name != "total").then(|| (name.to_owned(), count))
    });
    calls.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_read_with_and_without_an_error_column() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n \
                     50.00    0.100000           5     20000         3 recvfrom\n \
                     49.00    0.100000           5     20000           sendto\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.200000           5     40000         3 total\n";
        assert_eq!(
            parse(table),
            BTreeMap::from([("recvfrom".to_owned(), 20_000), ("sendto".to_owned(), 20_000)])
        );
    }
}
