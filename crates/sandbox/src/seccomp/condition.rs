//! What arguments of a call a rule speaks of: 32 bits of a register, as the kernel reads them.

use seccompiler::{
    BackendError, SeccompCmpArgLen as Width, SeccompCmpOp as Is, SeccompCondition, SeccompRule,
};

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Test {
    /// Which argument, from 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub is: Comparison,
    /// With what.
    pub value: u32,
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// It is the value.
    Equal,
    /// It is any other.
    Different,
    /// It is the value, of these bits.
    Masked(u32),
}

/// Comparisons that all hold: then the call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule(pub Vec<Test>);

impl Rule {
    pub(super) fn of(tests: &[Test]) -> Rule {
        Rule(tests.to_vec())
    }

    /// As the compiler of filters takes it.
    pub(super) fn for_the_kernel(&self) -> Result<SeccompRule, BackendError> {
        let condition = |test: &Test| {
            let is = match test.is {
                Comparison::Equal => Is::Eq,
                Comparison::Different => Is::Ne,
                Comparison::Masked(mask) => Is::MaskedEq(mask.into()),
            };
            SeccompCondition::new(test.argument, Width::Dword, is, test.value.into())
        };
        SeccompRule::new(self.0.iter().map(condition).collect::<Result<_, _>>()?)
    }
}

pub(super) fn eq(argument: u8, value: u32) -> Test {
    let is = Comparison::Equal;
    Test { argument, is, value }
}

pub(super) fn ne(argument: u8, value: u32) -> Test {
    let is = Comparison::Different;
    Test { argument, is, value }
}

pub(super) fn masked(argument: u8, mask: u32, value: u32) -> Test {
    let is = Comparison::Masked(mask);
    Test { argument, is, value }
}

/// One rule for each bit of `mask`: that it is set, and what else has to hold.
pub(super) fn each_bit(argument: u8, mask: u32, besides: &[Test]) -> Vec<Rule> {
    let bits = (0..u32::BITS).map(|b| 1_u32 << b).filter(|b| mask & b != 0);
    bits.map(|bit| {
        let mut tests = vec![masked(argument, bit, bit)];
        tests.extend_from_slice(besides);
        Rule(tests)
    })
    .collect()
}
