// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package telemetry reads the OTLP that a run of the demonstration produced,
// as a backend would receive it: files of one OTLP/JSON request a line.
//
// It promises to find the episode that contained the payment service and to
// count it in each signal ([Read]); deliveries that came twice count once. It
// refuses to look anywhere but into the telemetry. Times are nanoseconds since
// the Unix epoch, as in OTLP. The data's next stop is package report.
package telemetry
