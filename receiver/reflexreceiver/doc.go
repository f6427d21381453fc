// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package reflexreceiver tells the story of every episode downstream: each
// record of the reflex extension's journal as a log event, each episode as one
// trace, and the sum of it all as metrics.
//
// It promises that every record is handed to the next component at least once
// under a stable id while the journal still holds it, and that a consumer that
// fails, blocks or never returns delays its own signal only: neither the other
// signals nor the journal's writers notice. It refuses to decide anything, and
// to keep more than the journal keeps.
//
// Records come from internal/episode; their next stop is whatever the
// collector's pipelines lead to.
package reflexreceiver
