// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command reflexguard is the small privileged process that alone turns kernel
// knobs for Reflex, under leases that end by themselves. Its entry point is
// "reflexguard supervise". What it promises and refuses is internal/guard's.
package main
