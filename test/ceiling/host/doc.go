// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package host boots the machine of the comparison and turns what it brings back into
// the report. Nothing leaks outside of the machine.
package host
