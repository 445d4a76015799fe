"""Surroscope: did an autoregressive PDE surrogate learn the solution operator, or memorise?"""
