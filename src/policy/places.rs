//! Who fills which place, when nobody may fill two: augmenting paths in a bipartite graph (Kuhn).

/// Which of `places` can be filled by `people`, the first places first. `fits(place, person)`.
pub(crate) fn fill(places: usize, people: usize, fits: &dyn Fn(usize, usize) -> bool) -> Vec<bool> {
    let mut holds = vec![None; people];
    (0..places)
        .map(|place| seat(place, &mut holds, &mut vec![false; people], fits))
        .collect()
}

/// Gives `place` to somebody, who may have to be moved from another that somebody else takes.
fn seat(
    place: usize,
    holds: &mut [Option<usize>],
    asked: &mut [bool],
    fits: &dyn Fn(usize, usize) -> bool,
) -> bool {
    for person in 0..holds.len() {
        let Some(new) = asked.get_mut(person).filter(|asked| !**asked) else {
            continue;
        };
        if !fits(place, person) {
            continue;
        }
        *new = true;
        let held = holds.get(person).copied().flatten();
        if held.is_none_or(|held| seat(held, holds, asked, fits)) {
            if let Some(holds) = holds.get_mut(person) {
                *holds = Some(place);
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_fills_two_places() {
        let all = |_, _| true;
        assert_eq!(fill(2, 1, &all), [true, false]);
        assert_eq!(fill(2, 2, &all), [true, true]);
        assert_eq!(fill(1, 0, &all), [false]);
    }

    /// As many as by trying every assignment.
    #[test]
    fn as_many_as_can_be() {
        for graph in 0_u32..1 << 9 {
            let fits = |place: usize, person: usize| graph >> (place * 3 + person) & 1 == 1;
            let orders = [
                [0, 1, 2],
                [0, 2, 1],
                [1, 0, 2],
                [1, 2, 0],
                [2, 0, 1],
                [2, 1, 0],
            ];
            let most = orders
                .iter()
                .map(|order| {
                    let order = order.iter().enumerate();
                    order
                        .filter(|&(place, &person)| fits(place, person))
                        .count()
                })
                .max();
            let filled = fill(3, 3, &fits);
            assert_eq!(Some(filled.iter().filter(|one| **one).count()), most);
        }
    }
}
