// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package metric measures anomaly scores and alarms against labels. Its
// functions are pure, take one recording's scored rows in order, and never
// adjust a prediction by what the label next to it says (no "point adjustment",
// which lets one alarmed row count as a whole interval: Kim et al. 2022).
package metric
