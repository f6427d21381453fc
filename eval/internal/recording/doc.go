// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package recording reads labelled recordings of metrics: one CSV file, plain or
// gzipped, with a header. A numeric column `label`, 0 or 1, is required. The
// time is the column `t` or `time`, in seconds; a column `split` marks the rows
// a publisher meant for training with `train`. Every other numeric column is a
// metric, unless its name starts with `label` or the table of data sets
// excludes it. An empty cell is a missing value.
package recording
