"""ISO 4217: which currencies exist and how many decimals their amounts carry.

Source: ISO 4217 list one (active codes), without the codes that are no means of payment
(precious metals, bond units, testing: those that begin with X, other than the regional francs and dollars).
A code that leaves the list stays in `DECIMALS` and comes into `WITHDRAWN`, because accounts may have it.
"""

from __future__ import annotations

from datetime import date

_DECIMALS_0 = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_DECIMALS_3 = "BHD IQD JOD KWD LYD OMR TND"
_DECIMALS_4 = "CLF UYW"
_DECIMALS_2 = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
    CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD
    HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP
    MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD
    SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS
    VED VES WST XCD XCG YER ZAR ZMW ZWG
"""

DECIMALS: dict[str, int] = {
    code: decimals
    for decimals, codes in ((0, _DECIMALS_0), (2, _DECIMALS_2), (3, _DECIMALS_3), (4, _DECIMALS_4))
    for code in codes.split()
}

# By code, the first day on which it was no longer legal tender.
WITHDRAWN: dict[str, date] = {
    "BGN": date(2026, 1, 1),  # Bulgaria has the euro.
}


def why_not_new(currency: str) -> str | None:
    """Why no new account, product or order may be in this currency, as a sentence; None if it may.

    What exists in it goes on: its accounts are read, frozen and closed, hold and move money among each other, and an
    order that was opened in it runs to its end. Nothing is converted.
    """
    day = WITHDRAWN.get(currency)
    return None if day is None else f"{currency} was withdrawn on {day}: nothing new is opened in it"
