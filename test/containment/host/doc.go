// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package host boots the machines of the containment suite, one a run and place of
// the guard, and turns what they tell into the report. Nothing of a scenario
// happens outside of a machine.
package host
