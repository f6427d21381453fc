// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package recording writes and reads recordings: what the arc sees, the node and
// every cgroup at every tick, in one compressed file. docs/recording.md says what
// is in it byte by byte.
//
//	frame.go    blocks: what surrounds every part of a file, and its checksums
//	header.go   the first block: which columns there are, and where they come from
//	number.go   how one value of the node becomes a few bytes, and back
//	builder.go  ticks becoming a block
//	writer.go   [Writer]: blocks becoming a file
//	cursor.go   a block becoming ticks
//	reader.go   [Reader]: a file becoming ticks
//
// The package promises that what is read is what was written, bit by bit; that
// the memory of both sides is bounded, however long a recording is; that a file
// which ends early is read up to its last whole block ([ErrTruncated]); and that
// damage is told with its position and never read as data ([ErrDamaged]). Columns
// are found by their names: a file may have columns that this version does not
// know, and lack others.
//
// It refuses files, clocks and goroutines: it works on an io.Writer and an
// io.Reader. Where samples come from is internal/recorder's concern; their next
// stop is internal/replay.
package recording
