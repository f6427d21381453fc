// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package sensing measures what it costs to see a node: a sweep over all
// cgroups against reading cgroupfs, every BPF program for one event, the
// collector at rest, and what the probes take from other programs.
//
// It promises that what is compared is measured in turns within one run, that
// each number comes with its spread, and that a missed budget is printed as
// missed. Whatever it starts is bounded in time; it makes cgroups only below a
// directory of its own and removes them, also when it fails or is interrupted.
//
// It refuses to hide noise: next to a loss stands how much two runs of the same
// kind differed.
package sensing
