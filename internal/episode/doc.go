// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package episode holds the story of what Reflex noticed, decided and did: one
// [Record] for every step of an episode, kept in order in a [Journal].
//
// An episode opens when the node leaves its normal behaviour and closes when
// it is back. Its 16-byte id is used as the trace id of everything told about
// it.
//
// The journal promises that appending never waits for a reader, a disk or a
// network, that identifiers grow by exactly one a record, and that memory is
// bounded: when it is full the oldest record goes, and a reader that came too
// late sees how many it missed from the gap in the identifiers. It refuses to
// do I/O and to know who reads.
//
// Records come from the reflex extension; their next stops are the reflex
// receiver, which turns them into logs, metrics and spans, and the extension's
// own status page.
package episode
