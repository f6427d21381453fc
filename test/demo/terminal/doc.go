// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package terminal shows the demonstration as it runs.
//
// On a terminal it keeps a few lines up to date in place; anywhere else, a log
// or a pipe, it prints a plain line every few seconds. It promises to respect
// NO_COLOR and to write nothing but text when the output is no terminal. It
// only shows events: it measures nothing and decides nothing.
package terminal
