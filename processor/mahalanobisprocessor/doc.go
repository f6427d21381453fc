// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml
//go:generate rm -rf internal/metadata/generated_config.go internal/metadata/generated_config_test.go internal/metadata/generated_metrics.go internal/metadata/generated_metrics_test.go internal/metadata/testdata

// Package mahalanobisprocessor judges how far a node, or any resource, is from
// what it has usually been.
//
// With a reflex extension it registers its engine with the extension for one
// source; that source's samples are then judged on the arc, before any pipeline
// sees them, and here their metrics are only annotated with the judgement
// already made. Every other resource that carries the configured dimensions is
// judged when its metrics come by, against a baseline of its own. What baselines
// have learned outlives a restart in a storage extension, where one is named.
//
// The package promises that metrics pass unmodified but for one added scope of
// scores (and a tick's own sequence number, which it takes off), that an error of
// the next consumer reaches the sender, that nothing of the data is kept, and that
// state is bounded by max_streams. It refuses to drop, thin or delay metrics, and
// to act: the data's next stop is the next consumer, a judgement's is the policy in
// the reflex extension.
package mahalanobisprocessor
