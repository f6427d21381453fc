// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package chart draws time series as inline SVG: lines, steps, bands, rules and
// two axes, nothing more.
//
// Colours are CSS classes of the page that embeds the drawing, so that one
// drawing serves light and dark. The package promises that any finite data
// gives a well-formed drawing that names no address, and that values which are
// not finite leave a gap. It refuses interaction.
package chart
