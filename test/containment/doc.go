// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package containment says what the containment suite plays and what came of it:
// scenarios, each with a guilty workload that must be contained or an innocent one
// that must not be touched ([Scenarios], the table to extend), and the report.
//
// It promises that a scenario is judged from outside: contained is a limit file of
// the guilty cgroup that became tighter or, where there is no such file, an action
// that the journal says was granted; of a flood, only where the neighbour is better
// off for it; untouched is every limit file of every other
// cgroup as it was, before, during and after. It knows no clock and no machine:
// package guest plays the scenarios in a virtual machine, package host boots it.
package containment
