// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package examples keeps the dashboard and the alert rules under examples/ to what is
// emitted: the metrics of the components' metadata.yaml, by the names that they have in
// Prometheus.
package examples
