// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package report writes what the protocol measured: for people as a table, for
// machines as JSON, for plots as one CSV of scores a recording.
package report
