// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package protocol replays recordings through detectors under one protocol and
// measures what they did.
//
// Every detector sees the same rows in the same order, warms up on the same
// unlabelled prefix, never sees a label and is scored on the rows after the
// prefix only. A recording without a labelled row there counts for false
// episodes alone.
//
// A data set's AUC-PR and VUS-PR are the means over its recordings. What is
// counted, intervals and false episodes, is pooled over them; the delay is the
// median over its detected intervals. Overall is the mean over data sets, so
// that many small recordings do not drown a few long ones.
package protocol
