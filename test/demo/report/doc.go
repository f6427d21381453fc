// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package report turns a recording of the demonstration into numbers, a verdict
// and a page.
//
// [Analyse] is pure: the same recording gives the same [Report]. Every count and
// time is from the leak's onset as the payment service itself saw it. The
// acceptance list says for each promise what was wanted, what was measured and
// whether that is enough; the demonstration succeeded if all are. The page
// ([WriteHTML]) holds everything it shows: it loads nothing from anywhere. The
// package refuses to take Reflex's own word for containment, which is read from
// memory.high by an observer; its word is shown beside it.
package report
