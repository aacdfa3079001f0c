// Package usd is for others.
package usd
